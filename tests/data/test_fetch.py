"""Download of one file over HTTP: which errors are retried, which are not, and that every wait has a limit."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnbench.data.fetch import MirrorError, Patience, fetch
from tests.support.web import (
    CONTENT,
    Answer,
    Serve,
    drip,
    hang,
    hang_midway,
    ranged,
    redirect,
    reset,
    servers,
    status,
    whole,
)

HURRIED = Patience(connect=5, read=5, grace=5, pauses=(0, 0))
IMPATIENT = Patience(connect=5, read=0.1, grace=0.1, slowest=1e6, pauses=(0, 0))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bypass proxies."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def serve() -> Iterator[Serve]:
    with servers() as start:
        yield start


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_permanent_error_is_not_retried(serve: Serve, tmp_path: Path, code: int) -> None:
    mirror = serve(status(code))
    with pytest.raises(MirrorError, match=f"HTTP {code}"):
        fetch(mirror.address, tmp_path / "part", HURRIED)
    assert len(mirror.asked) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [status(429), status(500), status(503), reset])
def test_a_transient_error_is_retried_a_limited_number_of_times(serve: Serve, tmp_path: Path, fault: Answer) -> None:
    mirror = serve(fault)
    with pytest.raises(MirrorError):
        fetch(mirror.address, tmp_path / "part", HURRIED)
    assert len(mirror.asked) == 1 + len(HURRIED.pauses)
    mirror = serve(fault, whole)
    fetch(mirror.address, tmp_path / "part", HURRIED)
    assert len(mirror.asked) == 2
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_the_pauses_between_attempts_are_those_given(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("bnbench.data.fetch.time.sleep", slept.append)
    with pytest.raises(MirrorError, match="HTTP 503"):
        fetch(serve(status(503)).address, tmp_path / "part", Patience())
    assert slept == [1.0, 5.0]


def test_a_dead_address_is_reported(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(MirrorError, match="Connection refused"):
        fetch(f"http://127.0.0.1:{port}/a.gz", tmp_path / "part", HURRIED)


@pytest.mark.parametrize("address", ["http://", "http://[", "http://127.0.0.1:99999/a", "https://a..b/a"])
def test_an_invalid_address_is_reported(tmp_path: Path, address: str) -> None:
    with pytest.raises(MirrorError):
        fetch(address, tmp_path / "part", HURRIED)


def test_silence_ends_by_the_read_timeout_and_is_retried(serve: Serve, tmp_path: Path) -> None:
    mirror = serve(hang)
    with pytest.raises(MirrorError, match="timed out"):
        fetch(mirror.address, tmp_path / "part", IMPATIENT)
    assert len(mirror.asked) == 1 + len(IMPATIENT.pauses)


def test_silence_in_the_middle_of_a_body_ends_and_the_download_resumes(serve: Serve, tmp_path: Path) -> None:
    mirror = serve(hang_midway, ranged)
    fetch(mirror.address, tmp_path / "part", IMPATIENT)
    assert mirror.asked[1][1] == "bytes=1000-"
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_dripping_server_is_abandoned_at_the_deadline(serve: Serve, tmp_path: Path) -> None:
    mirror = serve(drip)
    with pytest.raises(MirrorError, match=r"too slow: \d+ bytes"):
        fetch(mirror.address, tmp_path / "part", IMPATIENT)
    assert len(mirror.asked) == 1


def test_an_endless_answer_is_stopped(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnbench.data.fetch.LARGEST", 1000)
    with pytest.raises(MirrorError, match="more than 1000 bytes"):
        fetch(serve(whole).address, tmp_path / "part", HURRIED)


def test_a_redirect_is_followed(serve: Serve, tmp_path: Path) -> None:
    mirror = serve(redirect("/else"), whole)
    fetch(mirror.address, tmp_path / "part", HURRIED)
    assert [path for path, _ in mirror.asked] == ["/base", "/else"]


def test_a_redirect_loop_ends_after_five(serve: Serve, tmp_path: Path) -> None:
    mirror = serve(redirect("/base"))
    with pytest.raises(MirrorError, match="TooManyRedirects"):
        fetch(mirror.address, tmp_path / "part", HURRIED)
    assert len(mirror.asked) == 6


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return a server's TLS context, whose certificate clients trust through REQUESTS_CA_BUNDLE."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs the openssl command to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    extension = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *command.split(), *extension], check=True, capture_output=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_a_redirect_from_https_to_http_is_refused(serve: Serve, tls: ssl.SSLContext, tmp_path: Path) -> None:
    plain = serve(whole)
    secure = serve(redirect(plain.address), redirect("/else"), whole, tls=tls)
    with pytest.raises(MirrorError, match="a redirect from https to http, refused"):
        fetch(secure.address, tmp_path / "part", HURRIED)
    assert plain.asked == []
    fetch(secure.address, tmp_path / "part", HURRIED)
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_an_unknown_certificate_is_refused_at_once(
    serve: Serve, tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(MirrorError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(serve(whole, tls=tls).address, tmp_path / "part", HURRIED)
