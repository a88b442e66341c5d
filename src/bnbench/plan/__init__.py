"""From a parameter file to runs and packs: what is done, missing or orphaned, and what it will cost."""
