"""Benchmarks: complete grids and training steps, timed against other programs. See README.md."""
