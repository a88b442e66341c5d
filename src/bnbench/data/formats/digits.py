"""The handwritten digits that come with scikit-learn: 1797 grey images of 8 x 8 pixels, 10 classes."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bnbench.core.errors import DataError
from bnbench.data.prepared import Arrays

SHA256 = "0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382"  # of the images, then the labels


def read(_files: Mapping[str, Path], *_: object) -> Arrays:
    """Return the 1797 images, 1 x 8 x 8, with grey values scaled from 0..16 to 0..255.

    Raises:
        DataError: the installed scikit-learn has other images.
    """
    from sklearn.datasets import load_digits  # importing scikit-learn takes a second

    bunch = load_digits()
    images = np.rint(bunch.images * 255 / 16).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    actual = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if actual != SHA256:
        raise DataError(
            f"scikit-learn's digits are not the expected ones: sha256 {actual}, expected {SHA256}; "
            "install the version of scikit-learn that the lock file names"
        )
    return Arrays(images, labels)
