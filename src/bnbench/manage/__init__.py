"""Commands on existing results: explain, prune, doctor, archive."""
