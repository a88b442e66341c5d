"""Commands about what exists: explain, prune, doctor, archive."""
