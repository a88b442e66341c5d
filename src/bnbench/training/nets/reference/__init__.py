"""Reference layers in NumPy and float64, written from the papers' formulas; the fast layers are tested against them."""
