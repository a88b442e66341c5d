"""bnbench: a reproducible benchmark of what batch normalisation really does."""

import os
import sys
import warnings

# Must be set before MKL is used. Without it a matrix product's last bits depend on where in memory its result
# lies, and so on which other runs share a pack (seen: 314 of 2,250 products of odd sizes differed; with it none, at
# the same speed within 3 %).
MKL_CBWR = "AUTO,STRICT"
if (given := os.environ.get("MKL_CBWR", MKL_CBWR)) != MKL_CBWR:
    warnings.warn(f"MKL_CBWR={given} is not used: bnbench computes with {MKL_CBWR}", RuntimeWarning, stacklevel=2)
os.environ["MKL_CBWR"] = MKL_CBWR
if "torch" in sys.modules:
    from bnbench.training.arithmetic import matmul

    if not (matmul.library_mode() or matmul.STRICT) & matmul.STRICT:
        late = (
            "torch multiplied before bnbench was imported, so that results may depend on a pack; import bnbench first"
        )
        warnings.warn(late, RuntimeWarning, stacklevel=2)
