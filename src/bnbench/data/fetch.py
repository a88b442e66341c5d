"""Bring one file over HTTP: resumed where it broke off, retried within bounds, never from https to http.

pooch checks and renames well, but it cannot go on with half a file, tries a 404 again, and follows a redirect
from https to http. So the transfer is made with requests, which is what pooch uses itself.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # statuses that may differ a moment later
BLOCK = 1 << 16  # bytes
LARGEST = 1 << 32  # bytes; an answer without end must not fill the disk

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long a mirror is waited for, in seconds.

    A try may last `grace`, and a second more for every `slowest` bytes that it brought: a big file has its
    time, a server that sends a byte now and then has not.
    """

    connect: float = 10.0
    read: float = 20.0
    grace: float = 60.0
    slowest: float = 10_000.0
    pauses: tuple[float, ...] = (1.0, 5.0)  # between tries, so three tries


class MirrorError(Exception):
    """What was seen instead of the file; `transient`: another try may help."""

    def __init__(self, seen: str, transient: bool = False) -> None:
        super().__init__(seen)
        self.transient = transient


class CarefulSession(requests.Session):
    """Follows at most five redirects, and none from https to anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = 5

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """The address that `resp` sends to, or None."""
        target = super().get_redirect_target(resp)
        if target and urlsplit(resp.url).scheme == "https":
            scheme = urlsplit(urljoin(resp.url, target)).scheme
            if scheme != "https":
                raise MirrorError(f"a redirect from https to {scheme}, refused: {target}")
        return target


def fetch(address: str, part: Path, patience: Patience) -> None:
    """Download `address` to `part`, with pauses and further tries on errors that may pass.

    What has come stays in `part` when it breaks off; a later call goes on from there.

    Raises:
        MirrorError: no complete answer.
    """
    for pause in patience.pauses:
        try:
            return _try(address, part, patience)
        except MirrorError as error:
            if not error.transient:
                raise
            log.info("%s: %s; next try in %g s", address, error, pause)
            time.sleep(pause)
    return _try(address, part, patience)


def _try(address: str, part: Path, patience: Patience) -> None:
    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    timeout = (patience.connect, patience.read)
    try:
        with (
            CarefulSession() as session,
            session.get(address, headers=headers, stream=True, timeout=timeout) as response,
            part.open("ab" if _goes_on(response, start, part) else "wb") as file,
        ):
            for block in _blocks(response, patience):
                file.write(block)
    except (requests.exceptions.SSLError, requests.TooManyRedirects, ValueError) as error:
        raise MirrorError(_cause(error)) from error  # ValueError: an address that is none
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise MirrorError(_cause(error), transient=True) from error


def _goes_on(response: requests.Response, start: int, part: Path) -> bool:
    """Whether the answer goes on from byte `start`; if not, it is the whole file.

    Raises:
        MirrorError: it is neither.
    """
    code = response.status_code
    if code == 200:
        return False
    if start and code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        return True
    if start and code in (206, 416):  # the beginning that lies here does not fit this server's file
        part.unlink()
        raise MirrorError(f"HTTP {code}, nothing to go on with from byte {start}", transient=True)
    raise MirrorError(f"HTTP {code} {response.reason}", transient=code in TRANSIENT)


def _blocks(response: requests.Response, patience: Patience) -> Iterator[bytes]:
    """The answer as it arrives, undecoded.

    `read1` returns what has come; `read` waits for a full block, which at a byte a second takes hours.
    """
    begun, received = time.monotonic(), 0
    while block := response.raw.read1(BLOCK, decode_content=False):
        yield block
        received += len(block)
        seconds = time.monotonic() - begun
        if seconds > patience.grace + received / patience.slowest:
            raise MirrorError(f"too slow: {received} bytes in {seconds:.0f} s")
        if received > LARGEST:
            raise MirrorError(f"more than {LARGEST} bytes")


def _cause(error: BaseException) -> str:
    """What lies under a library's wrapped error, in one line."""
    while under := error.__cause__ or error.__context__:
        error = under
    return f"{type(error).__name__}: {error}".splitlines()[0]
