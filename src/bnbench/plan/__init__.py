"""The plan: runs and packs from a parameter file, which of them are done, and estimates of their cost."""
