"""IDX files, CIFAR-10 and archives as users have them: the format is detected from the first bytes, not the name."""

import bz2
import gzip
import hashlib
import io
import lzma
import resource
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bnbench.core.errors import DataError
from bnbench.data.download import download
from bnbench.data.formats import idx
from bnbench.params.dataset_schema import Dataset
from tests.data.formats.test_idx import NAMES, write_four
from tests.data.test_download import dataset
from tests.data.test_prepare import toy_files
from tests.support import pickles


def stored(folder: Path, compress: Callable[[bytes], bytes]) -> dict[str, Path]:
    """Write the four files of a small MNIST, compressed by `compress`, without `.gz` in their names."""
    files = {}
    for name, path in write_four(folder).items():
        content = compress(gzip.decompress(path.read_bytes()))
        path.unlink()
        files[name.removesuffix(".gz")] = path.with_suffix("")
        path.with_suffix("").write_bytes(content)
    return files


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_idx_files_are_read_compressed_or_not_whatever_their_names(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    made = idx.read(stored(tmp_path, compress))
    assert made.images.tobytes() == bytes(range(24))
    assert made.labels.tolist() == [3, 1, 0, 255]


def test_plain_bytes_in_a_file_named_gz_are_read(tmp_path: Path) -> None:
    files = {name: path.rename(tmp_path / NAMES[i]) for i, (name, path) in enumerate(stored(tmp_path, bytes).items())}
    assert idx.read(files).images.shape == (4, 1, 2, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack(">4I", 2051, 4, 2, 3) + bytes(23), r"announces \(4, 2, 3\), 24 bytes; there are only 23"),
        (struct.pack(">4I", 2051, 4, 2, 3) + bytes(25), r"announces \(4, 2, 3\), 24 bytes; there are more"),
        (struct.pack(">2I", 2049, 4) + bytes(20), "starts with 0x00000801, not with 0x00000803"),
        (struct.pack(">4I", 2051, 2**32 - 1, 2**32 - 1, 9), "not between 1 and"),
        (struct.pack(">2I", 2051, 4), "8 bytes; an IDX header has 16"),
        (b"", "0 bytes; an IDX header has 16"),
        (b"PK\3\4" + bytes(40), "starts with 0x504b0304"),
    ],
    ids=["short", "long", "labels", "huge", "half a header", "empty", "zip"],
)
def test_a_plain_file_that_contradicts_its_header_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        idx.read_file(path, "images")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_header_that_announces_two_gigabytes_allocates_none(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(compress(struct.pack(">4I", 2051, 1 << 15, 1 << 8, 1 << 8) + bytes(50)))
    limit, used = resource.getrlimit(resource.RLIMIT_AS), int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used * resource.getpagesize() + (1 << 28), limit[1]))
    try:
        with pytest.raises(DataError, match=r"announces .* 2147483648 bytes; there are only 50"):
            idx.read_file(path, "images")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


def in_tar(folder: Path, contents: dict[str, bytes], kind: str) -> bytes:
    with tarfile.open(folder / "made", f"w:{kind}") as archive:  # type: ignore[call-overload]
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return (folder / "made").read_bytes()


def in_zip(folder: Path, contents: dict[str, bytes], _kind: str) -> bytes:
    with zipfile.ZipFile(folder / "made", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return (folder / "made").read_bytes()


def declared(folder: Path, archive: bytes, contents: dict[str, bytes]) -> Dataset:
    """Return a data set whose files are in an archive in a local mirror, under a name that suggests another format."""
    (folder / "mirror").mkdir()
    (folder / "mirror/all.tar.gz").write_bytes(archive)
    files = {name: "md5:" + hashlib.md5(content).hexdigest() for name, content in contents.items()}
    update = {"files": files, "archive": {"all.tar.gz": "md5:" + hashlib.md5(archive).hexdigest()}}
    return dataset(str(folder / "mirror")).model_copy(update=update)


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize(
    ("make", "kind"), [(in_tar, ""), (in_tar, "gz"), (in_tar, "bz2"), (in_tar, "xz"), (in_zip, "")]
)
def test_the_kind_of_an_archive_is_detected_from_its_first_bytes(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes], str], bytes], kind: str, prefix: str
) -> None:
    contents = {f"{pickles.FOLDER}/{name}": content for name, content in pickles.contents().items()}
    archive = make(tmp_path, {prefix + name: content for name, content in contents.items()}, kind)
    download("toy", declared(tmp_path, archive, contents), tmp_path / "raw")
    found = {str(p.relative_to(tmp_path / "raw")): p.read_bytes() for p in (tmp_path / "raw").rglob("*") if p.is_file()}
    assert found == contents


@pytest.mark.parametrize("make", [in_tar, in_zip])
def test_files_that_macos_adds_to_an_archive_are_ignored(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes], str], bytes]
) -> None:
    contents = {f"{pickles.FOLDER}/{name}": content for name, content in pickles.contents().items()}
    litter = {f"{pickles.FOLDER}/._test_batch": b"x", f"{pickles.FOLDER}/.DS_Store": b"x", "__MACOSX/._a": b"x"}
    download("toy", declared(tmp_path, make(tmp_path, litter | contents, ""), contents), tmp_path / "raw")
    assert len([path for path in (tmp_path / "raw").rglob("*") if path.is_file()]) == len(contents)


def test_files_that_windows_adds_to_the_folder_of_raw_files_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    data = toy_files(tmp_path / "mirror").model_copy(update={"mirrors": [str(tmp_path / "mirror")]})
    for _ in range(2):
        download("toy", data, tmp_path / "raw")
        (tmp_path / "raw/Thumbs.db").write_bytes(b"x")
        (tmp_path / "raw/desktop.ini").write_bytes(b"x")


def test_a_listing_written_with_find_or_on_windows_is_read(tmp_path: Path) -> None:
    names = ("PetImages/Cat/0.jpg", "PetImages/Dog/0.jpg", "PetImages/.DS_Store")
    lines = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  ./{name}\r\n" for name in names)
    for name in names:
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(name.encode())
    text = b"\xef\xbb\xbf" + lines.encode()
    (tmp_path / "pets/SHA256SUMS").write_bytes(text)
    data = dataset(str(tmp_path)).model_copy(
        update={"files": {"pets/SHA256SUMS": "sha256:" + hashlib.sha256(text).hexdigest()}}
    )
    download("toy", data, tmp_path / "raw")
    assert (tmp_path / "raw/pets/PetImages/Dog/0.jpg").is_file()
