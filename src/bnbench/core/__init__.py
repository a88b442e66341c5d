"""Foundation of every stage: errors, files, digests, locks, paths, YAML, the machine. It decides no result."""
