"""Augmentation: geometry compared with SciPy, draws with the documented ranges; damaged files are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from bnbench.core import locks
from bnbench.core.errors import DataError, UserError
from bnbench.data import augment, random_streams
from bnbench.data.augment import copies, draw, online, transform
from bnbench.data.identity import augmented_fingerprint
from bnbench.data.manifest import AugmentedManifest, read_manifest
from bnbench.data.prepare import prepare
from bnbench.data.prepared import Augmented, Images, Part, Prepared
from bnbench.params.dataset_schema import Augmentation
from tests.data.test_prepare import digits_set, flip

PUBLISHED: dict[str, Any] = {"rotate": 70.0, "shift": 0.1, "flip": True, "copies": 3, "seed": 0}


def definition(**changed: Any) -> Augmentation:
    return Augmentation.model_validate(PUBLISHED | changed)


def images(n: int = 5, height: int = 12, width: int = 17, channels: int = 3) -> Images:
    return np.random.RandomState(0).randint(0, 256, (n, channels, height, width)).astype(np.uint8)


def numbers(n: int, seed: int = 0, coordinates: tuple[int, ...] = (1,)) -> torch.Tensor:
    """Return the four uniform numbers of each image, drawn as `draw` does: (n, 4)."""
    return random_streams.uniform(seed, "augmentation", coordinates, (n, 4)).double()


def transformed_by_scipy(image: Images, row: torch.Tensor, what: Augmentation) -> Any:
    """Return one image C x H x W flipped, rotated and translated by SciPy."""
    angle, right, down = ((2 * row[:3] - 1) * torch.tensor([what.rotate, what.shift, what.shift])).tolist()
    channels = image[:, :, ::-1] if what.flip and row[3] < 0.5 else image
    height, width = image.shape[1:]
    radians = np.deg2rad(angle)
    matrix = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    offset = centre - matrix @ (centre + np.array([down * height, right * width]))
    return np.stack(
        [ndimage.affine_transform(c.astype(float), matrix, offset, order=1, mode="nearest") for c in channels]
    )


@pytest.mark.parametrize("changed", [{}, {"flip": False}, {"rotate": 0}, {"shift": 0}, {"rotate": 180, "shift": 0.5}])
def test_an_image_is_transformed_as_scipy_does_it(changed: dict[str, Any]) -> None:
    what, pixels = definition(**changed), images()
    x = torch.from_numpy(pixels).movedim(1, -1).float()
    seen_all = transform(x, draw(0, (1,), what, pixels.shape)).movedim(-1, 1).numpy()
    for image, row, seen in zip(pixels, numbers(len(pixels)), seen_all, strict=True):
        np.testing.assert_allclose(seen, transformed_by_scipy(image, row, what), atol=0.02)


def test_transforms_with_empty_ranges_leave_images_unchanged() -> None:
    made = copies(images(), definition(rotate=0, shift=0, flip=False))
    assert all(np.array_equal(copy, images()) for copy in made)


def test_a_flip_alone_mirrors_half_of_the_images() -> None:
    pixels = images(2000, 4, 4, 1)
    copy = copies(pixels, definition(rotate=0, shift=0))[0]
    mirrored = np.array([np.array_equal(a, b[:, :, ::-1]) for a, b in zip(copy, pixels, strict=True)])
    assert all(np.array_equal(a, b) for a, b in zip(copy[~mirrored], pixels[~mirrored], strict=True))
    assert 0.45 < mirrored.mean() < 0.55


def test_the_transforms_fill_the_published_ranges() -> None:
    a, b, c, d, e, f = draw(0, (1,), definition(flip=False), (20_000, 3, 32, 32)).double().unbind(1)
    angle = torch.rad2deg(torch.atan2(b, a))
    assert [float(angle.min()), float(angle.max())] == pytest.approx([-70, 70], abs=0.1)
    assert angle.std() == pytest.approx(140 / 12**0.5, rel=0.02)
    rotation = torch.stack([torch.stack([a, b], -1), torch.stack([d, e], -1)], -2)
    shift = torch.linalg.solve(rotation, -torch.stack([c, f], -1)) / 32  # in widths and heights
    assert shift.abs().max() == pytest.approx(0.1, abs=1e-3)
    assert shift.std(0).tolist() == pytest.approx([0.2 / 12**0.5] * 2, rel=0.02)


def test_copies_follow_their_seed_and_differ_from_each_other() -> None:
    first, again, other = (copies(images(), definition(seed=seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert first.shape == (2, *images().shape)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_the_transform_of_an_image_does_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = images(50)
    x = torch.from_numpy(pixels).movedim(1, -1).float()
    transforms = draw(0, (1,), definition(), pixels.shape)
    together = transform(x, transforms)
    alone = [transform(x[i : i + 1], transforms[i : i + 1])[0] for i in range(50)]
    assert torch.equal(together, torch.stack(alone))
    at_once = copies(pixels, definition())
    monkeypatch.setattr(augment, "CHUNK", 3 * pixels[0].size)
    assert np.array_equal(copies(pixels, definition()), at_once)


def test_the_online_form_differs_between_epochs_and_runs() -> None:
    draws = [
        online(seed, definition(seed=own), epoch, (4, 1, 8, 8)) for seed in (0, 1) for own in (0, 1) for epoch in (0, 1)
    ]
    assert len({str(drawn.tolist()) for drawn in draws}) == 8


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "digits"
    prepare("digits", digits_set(), None, folder)
    return folder


def test_the_static_form_is_written_once_and_read_back(prepared: Path, tmp_path: Path) -> None:
    out, what = tmp_path / "augmented" / "digits", definition()
    manifest = augment.augment(digits_set(), what, prepared, out)
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert augment.augment(digits_set(), what, prepared, out) == manifest == read_manifest(out, AugmentedManifest)
    assert times == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    train = Prepared.read(prepared).train.images
    read = Augmented.read(out)
    assert (read.definition, read.fingerprint) == (what, augmented_fingerprint(digits_set(), what))
    assert read.copies is not None
    assert np.array_equal(read.copies, copies(train, what))
    assert np.array_equal(read.sheet, np.stack([train[:6], *read.copies[:, :6]], 1))


def test_the_online_form_is_a_definition_and_a_sheet(prepared: Path, tmp_path: Path) -> None:
    out, what = tmp_path / "out", definition(copies="online")
    augment.augment(digits_set(), what, prepared, out)
    assert {path.name for path in out.iterdir()} == {"manifest.json", "sheet.npy"}
    read = Prepared.read(prepared, out).augmented
    assert read is not None
    assert (read.definition, read.copies) == (what, None)
    assert read.sheet.shape == (6, 7, 1, 8, 8)


@pytest.mark.parametrize("file", ["copies.npy", "sheet.npy", "manifest.json"])
def test_damage_is_detected_and_named(prepared: Path, tmp_path: Path, file: str) -> None:
    augment.augment(digits_set(), definition(), prepared, tmp_path / "out")
    flip(tmp_path / "out" / file)
    with pytest.raises(DataError, match=file.replace(".", r"\.")):
        Prepared.read(prepared, tmp_path / "out")


def test_other_data_and_another_augmentation_are_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds data with fingerprint"):
        augment.augment(digits_set(seed=5), definition(), prepared, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    augment.augment(digits_set(), definition(), prepared, tmp_path / "out")
    with pytest.raises(UserError, match="holds an augmentation with fingerprint"):
        augment.augment(digits_set(), definition(seed=1), prepared, tmp_path / "out")
    with pytest.raises(UserError, match="something other than an augmentation"):
        augment.augment(digits_set(), definition(), prepared, tmp_path)


def test_an_interrupted_augmentation_leaves_nothing(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bnbench.data.augment.write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        augment.augment(digits_set(), definition(), prepared, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [locks.NAME]


def test_the_identity_follows_the_definition_and_the_data() -> None:
    others: list[dict[str, Any]] = [
        {"rotate": 71.0},
        {"shift": 0.2},
        {"flip": False},
        {"copies": 2},
        {"copies": "online"},
        {"seed": 1},
    ]
    keys = [augmented_fingerprint(digits_set(), definition(**changed)) for changed in [{}, *others]]
    keys.append(augmented_fingerprint(digits_set(seed=1), definition()))
    assert len(set(keys)) == 8


def attached(data: Prepared, what: Augmentation) -> Prepared:
    """Return the data with an augmentation computed in memory."""
    made = None if what.copies == "online" else copies(data.train.images, what)
    augmented = Augmented("a" * 16, data.fingerprint, what, made, data.train.images[None, :1])
    return type(data)(**{**vars(data), "augmented": augmented})


def test_a_subset_of_the_training_images_uses_their_copies_only() -> None:
    from bnbench.training.train import tensors
    from tests.support.little import digits, run

    data = attached(digits(), definition(copies=4))
    full, part = (tensors(data, run(train_images=count), "cpu") for count in (None, 100))
    n = len(data.train.labels)
    assert (len(full["fed"].x), len(part["fed"].x)) == (4 * n, 400)
    assert torch.equal(part["fed"].x[300:], full["fed"].x[3 * n : 3 * n + 100])
    assert torch.equal(part["fed"].labels, part["train"].labels.repeat(4))
    assert isinstance(data.train, Part)
    assert torch.equal(part["train"].x, part["fed"].x[:100])
