"""How a step is executed: torch operations, recorded programs, CUDA graphs, or the NumPy reference."""
