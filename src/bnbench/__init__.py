"""bnbench: a reproducible benchmark of what batch normalisation really does."""
