"""The same layers in NumPy and float64, written from the papers' formulas: what the fast ones are tested against."""
