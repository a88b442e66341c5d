"""ASGI middleware that limits the demo's server to the page, its assets and its three events, for local browsers.

Gradio itself serves much more (uploads, files, an API, monitoring) and prints a traceback for each request that it
cannot parse. Here a request is validated before Gradio sees it, and an event is rebuilt from the validated values;
any other request gets one line of text as answer.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import orjson

HOSTS = ("127.0.0.1", "localhost")
LARGEST = 1 << 20  # bytes of a request's body; a drawing of `ink.MOST_POINTS` points is smaller
API = "/gradio_api"
JOIN, FILE = f"{API}/queue/join", f"{API}/file="
PAGES = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(assets|static|svelte)/[\w./@~+-]+"
    rf"|{API}/(queue/data|startup-events|app_id/?|info/?|heartbeat/\w+|theme\.css)"
)
SESSION = re.compile(r"\w{1,64}")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Refused(Exception):
    """Rejection of a request, with its HTTP status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Guard:
    """Middleware that forwards the requests of the page and rejects all others.

    Args:
        app: the server behind it.
        files: the only folder whose files are served.
        inputs: the number of input values of each event, by the event's index.
    """

    def __init__(self, app: App, files: Path, inputs: list[int]) -> None:
        self.app, self.files, self.inputs = app, files.resolve(), inputs

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Forward a valid request to the server; answer any other with its rejection."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        started = False  # the answer

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            body = await self._checked(scope, receive)
            await self.app(scope, receive if body is None else _replayed(body, receive), noted)
        except Exception as error:  # also one of Gradio: no request is worth a traceback on the console
            refused = error if isinstance(error, Refused) else Refused(400, "this request cannot be answered")
            if not started:
                await _reject(send, refused)

    async def _checked(self, scope: Message, receive: Receive) -> bytes | None:
        """Validate a request; return the body to forward, or None if the request has none.

        Raises:
            Refused: the page does not make this request.
        """
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get(b"host", "").partition(":")[0] not in HOSTS:
            raise Refused(403, f"this page answers to {' and '.join(HOSTS)} alone")
        path, method = scope["path"], scope["method"]
        if method == "POST" and path == JOIN:
            return self._event(await _read(receive))
        if method in ("GET", "HEAD") and ((PAGES.fullmatch(path) and ".." not in path) or self._is_own_file(path)):
            return None
        raise Refused(404, "there is no such page")

    def _is_own_file(self, path: str) -> bool:
        name = path.removeprefix(FILE)
        return path.startswith(FILE) and "\0" not in name and Path(name).resolve().is_relative_to(self.files)

    def _event(self, body: bytes) -> bytes:
        """Validate an event and rebuild it; the client's values for the server's state are discarded."""
        try:
            sent = orjson.loads(body)  # rejects NaN and infinities
            number, session, data = sent["fn_index"], sent["session_hash"], sent.get("event_data")
            inputs = self.inputs[number]
            right = type(number) is int and number >= 0 and bool(SESSION.fullmatch(session))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            right = False
        if not right:
            raise Refused(400, "this is no event of the page")
        return orjson.dumps({"fn_index": number, "session_hash": session, "data": [None] * inputs, "event_data": data})


async def _read(receive: Receive) -> bytes:
    """Read a request's body.

    Raises:
        Refused: it is larger than `LARGEST`.
    """
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > LARGEST:
            raise Refused(413, f"a request has at most {LARGEST} bytes")
        if not message.get("more_body"):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a receiver that yields this body first, then the messages of `receive`."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


async def _reject(send: Send, refused: Refused) -> None:
    """Answer a request with the reason of its rejection."""
    text = str(refused).encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
