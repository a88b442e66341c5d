"""Other programs that train the same runs: a file each, started as `python -m benchmarks.peers.NAME JOB OUT`."""
