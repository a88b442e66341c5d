"""A mirror on this machine that serves a file, or truncates, corrupts, refuses, redirects, hangs."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = bytes(range(256)) * 512  # 128 KiB: two blocks
SIZE = len(CONTENT)
Answer = Callable[["Handler"], None]


@dataclass
class Mirror:
    """The server's answers, one per request, the last one repeated; and the requests it received."""

    answers: list[Answer]
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    mirror: Mirror

    def do_GET(self) -> None:
        self.mirror.asked.append((self.path, self.headers.get("Range")))
        answers = self.mirror.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *_: object) -> None:
        pass

    def start(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors, since clients are expected to hang up."""


Serve = Callable[..., Mirror]


@contextlib.contextmanager
def servers() -> Iterator[Serve]:
    """Yield a function that starts a server with the given answers; all servers stop at the end."""
    running: list[tuple[Server, Mirror]] = []

    def start(*answers: Answer, tls: ssl.SSLContext | None = None) -> Mirror:
        mirror = Mirror(list(answers))
        server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"mirror": mirror}))
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        mirror.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/base"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append((server, mirror))
        return mirror

    try:
        yield start
    finally:
        for server, mirror in running:
            mirror.over.set()
            server.shutdown()
            server.server_close()


def whole(handler: Handler) -> None:
    handler.start(200, Content_Length=SIZE)
    handler.wfile.write(CONTENT)


def ranged(handler: Handler) -> None:
    if "Range" not in handler.headers:
        return whole(handler)
    begin = int(handler.headers["Range"][len("bytes=") : -1])
    if begin >= SIZE:
        return handler.start(416)
    handler.start(206, Content_Range=f"bytes {begin}-{SIZE - 1}/{SIZE}", Content_Length=SIZE - begin)
    handler.wfile.write(CONTENT[begin:])
    return None


def truncated(size: int) -> Answer:
    def answer(handler: Handler) -> None:
        handler.start(200, Content_Length=SIZE)
        handler.wfile.write(CONTENT[:size])

    return answer


def body(content: bytes, **headers: object) -> Answer:
    def answer(handler: Handler) -> None:
        handler.start(200, **headers)
        handler.wfile.write(content)

    return answer


def flipped(position: int) -> Answer:
    altered = bytearray(CONTENT)
    altered[position] ^= 1
    return body(bytes(altered), Content_Length=SIZE)


def status(code: int) -> Answer:
    return lambda handler: handler.start(code, Content_Length=0)


def redirect(to: str) -> Answer:
    return lambda handler: handler.start(302, Location=to, Content_Length=0)


def reset(handler: Handler) -> None:
    """Close so that the client sees `connection reset by peer`."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def hang(handler: Handler) -> None:
    handler.mirror.over.wait(5)


def hang_midway(handler: Handler) -> None:
    truncated(1000)(handler)
    handler.wfile.flush()
    handler.mirror.over.wait(5)


def drip(handler: Handler) -> None:
    handler.start(200, Content_Length=SIZE)
    while not handler.mirror.over.wait(0.005):
        handler.wfile.write(b"x")


def chunked(handler: Handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.start(200, Transfer_Encoding="chunked", Connection="close")
    for block in (CONTENT[:1000], CONTENT[1000:], b""):
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
