"""Download of one file over HTTP: resumed after an interruption, with bounded retries, never from https to http.

Made with requests. Its retries (`urllib3.Retry`) repeat a request until an answer starts; they cannot resume an answer
that breaks off in the middle, so one loop here does both. pooch cannot resume either, retries a 404, and follows a
redirect from https to http.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses that are worth a retry
BLOCK = 1 << 16  # bytes
LARGEST = 1 << 32  # bytes; an endless answer must not fill the disk

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """Time limits for a mirror, in seconds.

    An attempt may last `grace`, plus one second for every `slowest` bytes received: large files get the time they
    need, a server that sends a byte now and then does not.

    Attributes:
        connect: limit of connecting.
        read: limit between two packets.
        grace: limit of an attempt that receives nothing.
        slowest: the slowest accepted rate, in bytes per second.
        pauses: waits between attempts; one attempt more than pauses is made.
    """

    connect: float = 10.0
    read: float = 20.0
    grace: float = 60.0
    slowest: float = 10_000.0
    pauses: tuple[float, ...] = (1.0, 5.0)


class MirrorError(Exception):
    """The answer of a mirror instead of the file; `transient` if a retry may help."""

    def __init__(self, actual: str, transient: bool = False) -> None:
        super().__init__(actual)
        self.transient = transient


class CarefulSession(requests.Session):
    """A session that follows at most five redirects, and none from https to anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 5

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the address that a response redirects to, or None.

        Raises:
            MirrorError: a redirect from https to another scheme.
        """
        target = super().get_redirect_target(resp)
        if target and urlsplit(resp.url).scheme == "https":
            scheme = urlsplit(urljoin(resp.url, target)).scheme
            if scheme != "https":
                raise MirrorError(f"a redirect from https to {scheme}, refused: {target}")
        return target


def fetch(address: str, part: Path, patience: Patience) -> None:
    """Download `address` to `part`, retrying after transient errors.

    An interrupted download leaves its bytes in `part`, from which a later call resumes.

    Args:
        address: an http or https URL.
        part: the destination.
        patience: the time limits and pauses.

    Raises:
        MirrorError: no complete answer.
    """
    for pause in patience.pauses:
        try:
            return _attempt(address, part, patience)
        except MirrorError as error:
            if not error.transient:
                raise
            log.info("%s: %s; retrying in %g s", address, error, pause)
            time.sleep(pause)
    return _attempt(address, part, patience)


def _attempt(address: str, part: Path, patience: Patience) -> None:
    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    timeout = (patience.connect, patience.read)
    try:
        with (
            CarefulSession() as session,
            session.get(address, headers=headers, stream=True, timeout=timeout) as response,
            part.open("ab" if _resumes(response, start, part) else "wb") as file,
        ):
            for block in _blocks(response, patience):
                file.write(block)
    except (requests.exceptions.SSLError, requests.TooManyRedirects, ValueError) as error:
        raise MirrorError(_cause(error)) from error  # ValueError: an invalid address
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise MirrorError(_cause(error), transient=True) from error


def _resumes(response: requests.Response, start: int, part: Path) -> bool:
    """Return whether the answer continues from byte `start`, as opposed to being the complete file.

    Raises:
        MirrorError: it is neither.
    """
    code = response.status_code
    if code == 200:
        return False
    if start and code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        return True
    if start and code in (206, 416):  # the bytes in `part` are not the beginning of this server's file
        part.unlink()
        raise MirrorError(f"HTTP {code}, cannot resume from byte {start}", transient=True)
    raise MirrorError(f"HTTP {code} {response.reason}", transient=code in TRANSIENT)


def _blocks(response: requests.Response, patience: Patience) -> Iterator[bytes]:
    """Yield the body of an answer as it arrives, undecoded.

    `read1` returns the bytes that have arrived; `read` waits for a full block, which at a byte a second takes hours.

    Raises:
        MirrorError: too slow, or larger than `LARGEST`.
    """
    started, received = time.monotonic(), 0
    while block := response.raw.read1(BLOCK, decode_content=False):
        yield block
        received += len(block)
        seconds = time.monotonic() - started
        if seconds > patience.grace + received / patience.slowest:
            raise MirrorError(f"too slow: {received} bytes in {seconds:.0f} s")
        if received > LARGEST:
            raise MirrorError(f"more than {LARGEST} bytes")


def _cause(error: BaseException) -> str:
    """Return the innermost cause of a library's wrapped error as one line."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return f"{type(error).__name__}: {error}".splitlines()[0]
