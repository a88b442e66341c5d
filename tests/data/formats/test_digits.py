"""The digits of scikit-learn: scaled to bytes, and refused if another version has different images."""

import pytest
from sklearn.datasets import load_digits

from bnbench.core.errors import DataError
from bnbench.data.formats import digits


def test_digits_are_scikit_learns_images_scaled_to_bytes() -> None:
    images, labels, *official, about = digits.read({})
    assert (str(images.dtype), images.shape, str(labels.dtype)) == ("uint8", (1797, 1, 8, 8), "int64")
    scaled = [round(int(value) * 255 / 16) for value in load_digits().images.ravel()]
    assert images.ravel().tolist() == scaled
    assert (images.min(), images.max()) == (0, 255)
    assert (official, about) == ([None, None], {})


def test_changed_digits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    altered = load_digits()
    altered.images[5, 3, 3] += 1
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: altered)
    with pytest.raises(DataError, match="not the expected ones: sha256"):
        digits.read({})
