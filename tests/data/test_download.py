"""Download of a data set's folder from each kind of mirror and with each kind of fault."""

import errno
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from bnbench.core.errors import DataError, SystemFault, UserError
from bnbench.data.download import download
from bnbench.data.fetch import Patience
from bnbench.params.dataset_schema import Dataset, Split
from tests.support import pickles
from tests.support.web import (
    CONTENT,
    SIZE,
    Answer,
    Serve,
    body,
    chunked,
    flipped,
    ranged,
    reset,
    servers,
    status,
    truncated,
    whole,
)

HURRIED = Patience(connect=5, read=5, grace=5, pauses=(0, 0))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the user's BNBENCH_MIRROR and bypass proxies."""
    monkeypatch.delenv("BNBENCH_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def serve() -> Iterator[Serve]:
    with servers() as start:
        yield start


def dataset(*mirrors: str, checksum: str = "", files: tuple[str, ...] = ("a.gz",)) -> Dataset:
    declared = checksum or "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    return Dataset(
        title="Test",
        format="idx",
        shape=(1, 1, 1),
        classes=2,
        images=10,
        licence="none",
        mirrors=list(mirrors),
        files=dict.fromkeys(files, declared),
        split=Split(valid=1, test=1, seed=0),
    )


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(data: Dataset, out: Path) -> str:
    """Return the message that refuses a download, after checking that no file got its final name."""
    with pytest.raises(DataError) as caught:
        download("toy", data, out, HURRIED)
    assert set(listing(out)) <= {"a.gz.part"}
    return str(caught.value)


@pytest.mark.parametrize("answer", [whole, ranged, chunked, body(CONTENT)])
def test_a_good_mirror_fills_the_folder_with_the_file_alone(serve: Serve, tmp_path: Path, answer: Answer) -> None:
    download("toy", dataset(serve(answer).address), tmp_path / "raw", HURRIED)
    assert listing(tmp_path / "raw") == ["a.gz"]
    assert (tmp_path / "raw/a.gz").read_bytes() == CONTENT


def test_an_existing_file_is_not_downloaded_again(serve: Serve, tmp_path: Path) -> None:
    mirror = serve(whole)
    for _ in range(2):
        download("toy", dataset(mirror.address, files=("a.gz", "b.gz")), tmp_path, HURRIED)
    assert [path for path, _ in mirror.asked] == ["/base/a.gz", "/base/b.gz"]


def test_an_existing_file_with_another_checksum_is_replaced(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(CONTENT[:-1])
    download("toy", dataset(serve(whole).address), tmp_path, HURRIED)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [0, 1, SIZE // 2, SIZE - 1])
def test_a_truncated_answer_never_gets_the_final_name(serve: Serve, tmp_path: Path, size: int) -> None:
    mirror = serve(truncated(size))
    assert "IncompleteRead" in refused(dataset(mirror.address), tmp_path)
    assert len(mirror.asked) == 1 + len(HURRIED.pauses)


@pytest.mark.parametrize("size", [0, 1, SIZE // 2, SIZE - 1])
def test_an_interrupted_download_resumes_where_it_stopped(serve: Serve, tmp_path: Path, size: int) -> None:
    mirror = serve(truncated(size), ranged)
    download("toy", dataset(mirror.address), tmp_path, HURRIED)
    assert mirror.asked[1] == ("/base/a.gz", f"bytes={size}-" if size else None)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT


def test_a_server_without_ranges_is_read_from_the_start(serve: Serve, tmp_path: Path) -> None:
    download("toy", dataset(serve(truncated(5000), whole).address), tmp_path, HURRIED)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT


def test_the_next_mirror_and_the_next_call_resume_from_the_part(serve: Serve, tmp_path: Path) -> None:
    refused(dataset(serve(truncated(1000)).address), tmp_path)
    assert (tmp_path / "a.gz.part").read_bytes() == CONTENT[:1000]
    good = serve(ranged)
    download("toy", dataset(good.address), tmp_path, HURRIED)
    assert good.asked == [("/base/a.gz", "bytes=1000-")]
    assert listing(tmp_path) == ["a.gz"]


@pytest.mark.parametrize("part", [b"another file's beginning", CONTENT, CONTENT + b"!"])
def test_a_part_that_does_not_fit_is_dropped(serve: Serve, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "a.gz.part").write_bytes(part)
    download("toy", dataset(serve(ranged).address), tmp_path, HURRIED)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT
    assert listing(tmp_path) == ["a.gz"]


@pytest.mark.parametrize("position", [0, 1000, SIZE // 2, SIZE - 1])
def test_one_flipped_bit_is_refused_after_one_download_from_the_start(
    serve: Serve, tmp_path: Path, position: int
) -> None:
    mirror = serve(flipped(position))
    message = refused(dataset(mirror.address), tmp_path)
    assert "wrong checksum sha256:" in message
    assert f"{SIZE} bytes" in message
    assert mirror.asked == [("/base/a.gz", None)] * 2
    assert listing(tmp_path) == []


@pytest.mark.parametrize("bad", [flipped(7), truncated(9), status(404), body(b"<html>log in</html>"), reset])
def test_after_a_bad_mirror_the_next_is_used_and_the_bad_one_named(
    serve: Serve, tmp_path: Path, bad: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    first = serve(bad)
    download("toy", dataset(first.address, serve(ranged).address), tmp_path, HURRIED)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT
    assert f"{first.address}/a.gz" in caplog.text


def test_the_mirror_that_served_is_tried_first_for_the_next_file(serve: Serve, tmp_path: Path) -> None:
    bad, good = serve(status(404)), serve(whole)
    download("toy", dataset(bad.address, good.address, files=("a.gz", "b.gz")), tmp_path, HURRIED)
    assert len(bad.asked) == 1


def test_the_message_lists_every_mirror_the_checksum_and_the_remedy(serve: Serve, tmp_path: Path) -> None:
    wrong = "md5:" + "0" * 32
    page, gone = serve(body(b"<!DOCTYPE html><p>log in")), serve(status(403))
    message = refused(dataset(page.address, gone.address, str(tmp_path / "none"), checksum=wrong), tmp_path)
    got = hashlib.md5(b"<!DOCTYPE html><p>log in").hexdigest()
    assert wrong in message
    assert f"{page.address}/a.gz: wrong checksum md5:{got}, 24 bytes, an HTML page" in message
    assert f"{gone.address}/a.gz: HTTP 403" in message
    assert "none/a.gz: no such file" in message
    assert "Set BNBENCH_MIRROR to a folder" in message
    assert "datasets.toy.mirrors" in message


def test_without_any_mirror_the_message_states_so(tmp_path: Path) -> None:
    assert "no mirror is declared" in refused(dataset(), tmp_path)


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}", "file://localhost{}"])
@pytest.mark.parametrize("sub", ["", "toy"])
def test_a_local_mirror_is_copied(tmp_path: Path, form: str, sub: str) -> None:
    folder = tmp_path / "own mirror"
    (folder / sub).mkdir(parents=True)
    (folder / sub / "a.gz").write_bytes(CONTENT)
    download("toy", dataset(form.format(str(folder))), tmp_path / "raw")
    assert (tmp_path / "raw/a.gz").read_bytes() == CONTENT
    assert (folder / sub / "a.gz").exists()


def test_bnbench_mirror_is_tried_first(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own/toy").mkdir(parents=True)
    (tmp_path / "own/toy/a.gz").write_bytes(CONTENT)
    monkeypatch.setenv("BNBENCH_MIRROR", str(tmp_path / "own"))
    public = serve(whole)
    download("toy", dataset(public.address, files=("a.gz", "b.gz")), tmp_path / "raw", HURRIED)
    assert [path for path, _ in public.asked] == ["/base/b.gz"]


def test_bnbench_mirror_may_be_an_address(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = serve(status(404), whole)
    monkeypatch.setenv("BNBENCH_MIRROR", own.address)
    download("toy", dataset(), tmp_path, HURRIED)
    assert [path for path, _ in own.asked] == ["/base/toy/a.gz", "/base/a.gz"]


@pytest.mark.parametrize("mirror", ["ftp://host/x", "s3://bucket", "file://folder/x", "https:///x"])
def test_a_mirror_of_unknown_kind_is_refused_before_anything_is_made(tmp_path: Path, mirror: str) -> None:
    with pytest.raises(UserError, match=r"datasets\.toy\.mirrors"):
        download("toy", dataset(mirror), tmp_path / "raw")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("file", ["", ".", "..", "../a", "/a", "b//a", "b/../a", "b/.a", "b\\a", ".a", "a\0", "a.part"])
def test_a_file_name_that_leaves_the_folder_is_refused_by_the_schema(tmp_path: Path, file: str) -> None:
    with pytest.raises(ValidationError, match="a file name that"):
        dataset(str(tmp_path), files=(file,))


def test_foreign_files_are_refused_not_deleted(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        download("toy", dataset(serve(whole).address), tmp_path, HURRIED)
    assert listing(tmp_path) == ["thesis.txt"]


def test_temporary_files_of_a_killed_download_are_removed(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".a.gz.k3j2").write_bytes(b"left")
    download("toy", dataset(serve(whole).address), tmp_path, HURRIED)
    assert listing(tmp_path) == ["a.gz"]


def test_a_file_at_the_path_of_the_folder_is_explained(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("")
    for out in (tmp_path / "raw", tmp_path / "raw/deeper"):
        with pytest.raises(SystemFault, match="a file lies where a folder is needed"):
            download("toy", dataset(serve(whole).address), out, HURRIED)


def test_a_full_disk_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.gz").write_bytes(CONTENT)
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(SystemFault, match="no space is left"):
        download("toy", dataset(str(tmp_path)), tmp_path / "raw")


def test_of_two_concurrent_downloads_one_fetches(serve: Serve, tmp_path: Path) -> None:
    mirror = serve(whole)
    data = dataset(mirror.address, files=("a.gz", "b.gz"))
    both = [threading.Thread(target=download, args=("toy", data, tmp_path, HURRIED)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(mirror.asked) == 2
    assert listing(tmp_path) == ["a.gz", "b.gz"]


def test_a_data_set_without_files_needs_no_download(tmp_path: Path) -> None:
    download("digits", dataset(files=()), tmp_path / "raw")
    assert listing(tmp_path) == []


def archived(folder: Path, *mirrors: str, **changed: bytes) -> Dataset:
    """Return a small CIFAR-10 in a tar in `folder`; files in `changed` differ from their declared checksums."""
    contents = pickles.contents()
    with tarfile.open(folder / "c.tar.gz", "w:gz") as made:
        for name, content in ((f"{pickles.FOLDER}/{name}", changed.get(name, c)) for name, c in contents.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    files = {f"{pickles.FOLDER}/{name}": "md5:" + hashlib.md5(c).hexdigest() for name, c in contents.items()}
    archive = {"c.tar.gz": "md5:" + hashlib.md5((folder / "c.tar.gz").read_bytes()).hexdigest()}
    update = {"files": files, "archive": archive, "mirrors": list(mirrors), "format": "cifar"}
    return dataset().model_copy(update=update)


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_archive_is_fetched_unpacked_and_removed(serve: Serve, tmp_path: Path) -> None:
    data = archived(tmp_path)
    mirror = serve(body((tmp_path / "c.tar.gz").read_bytes()))
    data = data.model_copy(update={"mirrors": [mirror.address]})
    for _ in range(2):
        download("toy", data, tmp_path / "raw", HURRIED)
        assert held(tmp_path / "raw") == pickles.contents()
    assert [path for path, _ in mirror.asked] == ["/base/c.tar.gz"]


@pytest.mark.parametrize("sub", ["", "toy"])
def test_a_folder_unpacked_by_hand_is_a_mirror_too(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sub: str
) -> None:
    pickles.write(tmp_path / "own" / sub / pickles.FOLDER)
    monkeypatch.setenv("BNBENCH_MIRROR", str(tmp_path / "own"))
    public = serve(status(404))
    download("toy", archived(tmp_path, public.address), tmp_path / "raw", HURRIED)
    assert held(tmp_path / "raw") == pickles.contents()
    assert public.asked == []


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_a_folder_with_a_bad_batch_is_completed_from_the_archive_or_refused(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    batch = pickles.write(tmp_path / "own" / pickles.FOLDER)[f"{pickles.FOLDER}/data_batch_3"]
    batch.unlink() if damage == "missing" else batch.write_bytes(b"x")
    monkeypatch.setenv("BNBENCH_MIRROR", str(tmp_path / "own"))
    data = archived(tmp_path)
    with pytest.raises(DataError) as caught:
        download("toy", data.model_copy(update={"mirrors": [serve(status(404)).address]}), tmp_path / "raw", HURRIED)
    seen = "no such file" if damage == "missing" else "wrong checksum md5:"
    assert f"own/{pickles.FOLDER}/data_batch_3: {seen}" in str(caught.value)
    assert "c.tar.gz: HTTP 404" in str(caught.value)
    assert "data_batch_3" not in held(tmp_path / "raw")
    good = serve(body((tmp_path / "c.tar.gz").read_bytes()))
    download("toy", data.model_copy(update={"mirrors": [good.address]}), tmp_path / "raw", HURRIED)
    assert held(tmp_path / "raw") == pickles.contents()


def test_an_archive_with_another_file_in_it_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    data = archived(tmp_path, str(tmp_path), test_batch=b"another")
    with pytest.raises(DataError, match="its cifar-10-batches-py/test_batch is not the declared one: wrong checksum"):
        download("toy", data, tmp_path / "raw", HURRIED)
    assert not [name for name in held(tmp_path / "raw") if name.endswith(".part") or name == "test_batch"]


def listed(folder: Path, names: tuple[str, ...] = ("PetImages/Cat/0.jpg", "PetImages/Dog/0.jpg")) -> Dataset:
    """Return a folder with a listing, declared by the listing's digest alone."""
    lines = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in names)
    (folder / "pets").mkdir(parents=True)
    (folder / "pets/SHA256SUMS").write_text(lines)
    for name in names:
        if ".." not in name:
            (folder / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "pets" / name).write_bytes(name.encode())
    files = {"pets/SHA256SUMS": "sha256:" + hashlib.sha256(lines.encode()).hexdigest()}
    return dataset(str(folder)).model_copy(update={"files": files})


def test_the_files_of_a_listing_are_downloaded_with_it(tmp_path: Path) -> None:
    data = listed(tmp_path / "own")
    for _ in range(2):
        download("toy", data, tmp_path / "raw")
        found = sorted(str(path.relative_to(tmp_path / "raw")) for path in (tmp_path / "raw").rglob("*.jpg"))
        assert found == ["pets/PetImages/Cat/0.jpg", "pets/PetImages/Dog/0.jpg"]


def test_a_listed_file_with_another_checksum_is_refused(tmp_path: Path) -> None:
    data = listed(tmp_path / "own")
    (tmp_path / "own/pets/PetImages/Dog/0.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"PetImages/Dog/0\.jpg: wrong checksum sha256:.*, 0 bytes"):
        download("toy", data, tmp_path / "raw")
    assert not (tmp_path / "raw/pets/PetImages/Dog/0.jpg").exists()


@pytest.mark.parametrize("name", ["../../evil.jpg", "PetImages/../../../evil.jpg", "/etc/evil.jpg"])
def test_a_listing_with_a_path_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    if name.startswith("/"):
        data = listed(tmp_path / "own", ("..",))
        (tmp_path / "own/pets/SHA256SUMS").write_text(f"{'0' * 64}  {name}\n")
        digest = hashlib.sha256((tmp_path / "own/pets/SHA256SUMS").read_bytes()).hexdigest()
        data = data.model_copy(update={"files": {"pets/SHA256SUMS": f"sha256:{digest}"}})
    else:
        data = listed(tmp_path / "own", (name,))
    with pytest.raises(DataError, match=r"SHA256SUMS:1: .* leaves the folder"):
        download("toy", data, tmp_path / "raw")
    assert held(tmp_path / "raw").keys() == {"SHA256SUMS"}


@pytest.mark.parametrize("text", ["", "no listing\n", "0" * 64 + " x.jpg\n"])
def test_a_listing_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    data = listed(tmp_path / "own")
    (tmp_path / "own/pets/SHA256SUMS").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(DataError, match="SHA256SUMS"):
        download("toy", data.model_copy(update={"files": {"pets/SHA256SUMS": f"sha256:{digest}"}}), tmp_path / "raw")


def test_foreign_files_below_are_refused_too(tmp_path: Path) -> None:
    data = listed(tmp_path / "own")
    download("toy", data, tmp_path / "raw")
    (tmp_path / "raw/pets/PetImages/Dog/thesis.txt").write_text("dear")
    with pytest.raises(UserError, match=r"pets/PetImages/Dog/thesis\.txt"):
        download("toy", data, tmp_path / "raw")
