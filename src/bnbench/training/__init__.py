"""Train runs: the loop, evaluation, checkpoints, workers and devices."""
