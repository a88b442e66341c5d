"""What every stage uses: errors, files, digests, locks, paths, YAML, the machine. Knows no benchmark."""
