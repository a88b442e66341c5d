"""bnbench: a reproducible benchmark of what batch normalisation really does."""

import os

# Must be set before MKL is loaded. Without it a matrix product's last bits depend on where in memory its result
# lies, and so on which other runs share a pack (seen: 314 of 2,250 products of odd sizes differed; with it none, at
# the same speed within 3 %).
os.environ["MKL_CBWR"] = "AUTO,STRICT"
