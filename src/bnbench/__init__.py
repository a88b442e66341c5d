"""bnbench: a reproducible benchmark of what batch normalisation really does."""

import os

# Must be set before MKL is loaded. Without it a matrix product's last bits depend on where in memory its result
# lies, and so on which other runs share a pack (seen: 314 of 2,250 products of odd sizes differed; with it none, at
# the same speed within 3 %).
os.environ["MKL_CBWR"] = "AUTO,STRICT"
# Must be set before torch takes memory: large arrays in pages of 2 MiB, where the system has them for who asks. A step of
# 784-392-10 with Adam, whose arrays exceed a core's second cache, took 1.87 to 1.92 ms instead of 1.97 to 2.11.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
