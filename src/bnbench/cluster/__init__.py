"""Slurm: jobs and their resources, the site file, checks before submission."""
