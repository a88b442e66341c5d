"""What is timed, not tested: see README.md."""
