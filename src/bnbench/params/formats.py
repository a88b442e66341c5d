"""Raw data formats that a data set may declare: what each is, and the rules for `files` and `shape`.

A format is one entry in `FORMATS` and one module of its name in `bnbench/data/formats/`, which has the reader. The
rules stand here, so that a wrong declaration is refused with its line when the parameter file is read, before anything
is downloaded.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from bnbench.core.names import LISTING

CIFAR_TRAIN, CIFAR_TEST, CIFAR_META = tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"
IDX_ROLES = tuple((part, kind) for part in ("train", "t10k") for kind in ("images", "labels"))


@dataclass(frozen=True, kw_only=True)
class Format:
    """A raw data format.

    Attributes:
        about: the description in the schema of the parameter file.
        files: the files that it reads, in words, for messages.
        matches: whether these keys of `files` are the files that it reads.
        channels: the numbers of channels that it can convert images to; empty: it converts none.
        resizes: whether it scales images to the declared `shape`, which then decides the prepared arrays.
    """

    about: str
    files: str
    matches: Callable[[Collection[str]], bool]
    channels: tuple[int, ...] = ()
    resizes: bool = False


def idx_roles(names: Collection[str]) -> dict[tuple[str, str], str]:
    """Return which file is which: (train or t10k, images or labels) -> name."""
    return {role: name for role in IDX_ROLES for name in names if all(word in name for word in role)}


def _are_idx(names: Collection[str]) -> bool:
    roles = tuple(idx_roles(names))
    return roles in (IDX_ROLES[:2], IDX_ROLES) and len(roles) == len(names)


def _are_cifar(names: Collection[str]) -> bool:
    return sorted(PurePosixPath(name).name for name in names) == sorted((*CIFAR_TRAIN, CIFAR_TEST, CIFAR_META))


def _are_folders(names: Collection[str]) -> bool:
    return len(names) == 1 or any(PurePosixPath(name).name == LISTING for name in names)


FORMATS: dict[str, Format] = {
    "digits": Format(
        about="comes with scikit-learn",
        files="no files (remove `files`)",
        matches=lambda names: not names,
    ),
    "idx": Format(
        about="as MNIST",
        files="four files with train or t10k and images or labels in their names (the two of t10k may be missing)",
        matches=_are_idx,
    ),
    "cifar": Format(
        about="the batches of CIFAR-10",
        files=f"{', '.join(CIFAR_TRAIN)}, {CIFAR_TEST} and {CIFAR_META} (declare an archive of them under `archive`)",
        matches=_are_cifar,
    ),
    "folders": Format(
        about=f"a folder of images for each class, listed in {LISTING}, or in a zip or tar",
        files=f"one zip or tar, or a {LISTING} and what it lists",
        matches=_are_folders,
        channels=(1, 3),
        resizes=True,
    ),
}


def problems(name: str, files: Collection[str], shape: tuple[int, int, int]) -> Iterator[tuple[str, str]]:
    """Yield the keys of a data set that break the rules of its format, each with the reason."""
    rules = FORMATS[name]
    if not rules.matches(files):
        seen = ", ".join(list(files)[:9]) + (", ..." if len(files) > 9 else "")
        yield "files", f"format {name} reads {rules.files}; `files` has: {seen or 'nothing'}"
    if rules.channels and shape[0] not in rules.channels:
        allowed = " or ".join(map(str, rules.channels))
        yield "shape", f"format {name} gives images of {allowed} channels, but the shape is {list(shape)}"
