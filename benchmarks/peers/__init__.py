"""Other programs for the same runs: one file each, started as `python -m benchmarks.peers.NAME JOB OUT`."""
