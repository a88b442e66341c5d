"""Training of runs: jobs, workers, the training loop, evaluation, checkpoints, finished runs."""
