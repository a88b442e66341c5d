"""Defined arithmetic: the operations whose rounding IEEE 754 leaves open, in C, the same bytes on every processor.

Sums and products in a stated order, elementary functions, random numbers by counter. `docs/arithmetic.md` has the
definition; its version is `ARITHMETIC`.
"""

ARITHMETIC = 1  # version of the definition: raised when any result of it changes
