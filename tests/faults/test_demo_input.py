"""The demo under requests that its page never sends: one line to the client, no console output, no file served."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from bnbench.plan.plan import Plan
from tests.data.formats.test_folders import huge, picture
from tests.demo.test_serve import params, trained

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("gradio") is None, reason="needs the extra demo")]
DOT = [[[0.4, 0.5], [0.6, 0.5]]]


@dataclass
class Page:
    """A demo that runs as a process of the installed command: its address and the path of its console output."""

    url: str
    console: Path
    process: subprocess.Popen[str]
    written: int = 0  # size of the console output in bytes when a test started

    def post(self, path: str, body: bytes, **headers: str) -> requests.Response:
        return requests.post(self.url + path, body, headers={"Content-Type": "application/json", **headers}, timeout=30)

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.url + path, headers=headers, timeout=30)

    def join(self, number: object, data: object, session: object, inputs: object) -> requests.Response:
        body = {"fn_index": number, "event_data": data, "session_hash": session, "data": inputs}
        return self.post("gradio_api/queue/join", json.dumps(body).encode())

    def answer(self, data: object, number: int = 0, session: str = "abc") -> str:
        """Return the text that the page shows after an event."""
        joined = self.join(number, data, session, [None] * (number > 0))
        assert joined.status_code == 200, joined.text
        heard = requests.get(f"{self.url}gradio_api/queue/data?session_hash={session}", stream=True, timeout=30)
        for line in heard.iter_lines():
            if line.startswith(b"data:") and (message := json.loads(line[5:]))["msg"] == "process_completed":
                assert message["success"], message
                return str(message["output"]["data"][0])
        raise AssertionError("the page never answered")

    def is_quiet(self) -> bool:
        return self.process.poll() is None and self.console.stat().st_size == self.written


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("demo")
    trained(Plan(params(folder), root=folder))
    (folder / "tmp").mkdir()
    command = [str(Path(sys.executable).with_name("bnbench")), "demo", "--no-browser"]
    console = folder / "console"
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "NO_PROXY": "127.0.0.1"}
    with console.open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not console.read_text().endswith("\n") and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        yield Page(console.read_text().split()[0], console, process)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture(autouse=True)
def _from_here(page: Page) -> None:
    page.written = page.console.stat().st_size


STROKES: dict[str, Any] = {
    "NaN": [[["NaN", 0.5]]],
    "null": [[[None, 0.5]]],
    "huge": [[[1e300, 0.5], [0.5, -1e300]]],
    "beyond 64 bits": [[[10**30, 0.5]]],
    "ragged": [[[0.1, 0.2], [0.3]]],
    "three numbers": [[[0.1, 0.2, 0.3]]],
    "flat": [[0.1, 0.2]],
    "text": "strokes",
    "text in a stroke": [["ab", "cd"]],
    "a mapping": {"0": [[0.1, 0.2]]},
    "an empty stroke": [[], [[0.1, 0.2]]],
    "true and false": [[[True, False]]],
    "deep": [[[[[[0.1]]]]]],
    "many points": [[[0.1, 0.2]] * 20_001],
    "many strokes": [[[0.5, 0.5]]] * 20_001,
}


@pytest.mark.parametrize("name", STROKES)
def test_a_drawing_that_is_none_is_answered_by_one_message(page: Page, name: str) -> None:
    told = page.answer({"strokes": STROKES[name]})
    assert "This drawing cannot be read: " in told
    assert page.is_quiet()


@pytest.mark.parametrize("data", [None, [], 5, "text", {}, {"other": 1}])
@pytest.mark.parametrize("number", [0, 1])
def test_an_event_that_says_nothing_is_answered_by_one_message(page: Page, data: object, number: int) -> None:
    told = page.answer(data, number)
    assert ("This drawing cannot be read", "There is no such test image")[number] in told
    assert page.is_quiet()


@pytest.mark.parametrize("index", [-1, 16, 10**9, 10**18, 1.5, "0", [0, 1], None, True])
def test_a_test_image_that_is_none_is_answered_by_one_message(page: Page, index: object) -> None:
    assert "There is no such test image" in page.answer({"index": index}, 1)
    assert page.is_quiet()


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_are_not_finite_are_no_request(page: Page, value: bytes) -> None:
    body = b'{"fn_index": 0, "session_hash": "a", "data": [], "event_data": {"strokes": [[[%s, 0.5]]]}}' % value
    assert page.post("gradio_api/queue/join", body).status_code == 400
    assert page.is_quiet()


JOINS: dict[str, tuple[Any, ...]] = {
    "no such event": (3, {}, "a", []),
    "a negative event": (-1, {}, "a", []),
    "an event in words": ("draw", {}, "a", []),
    "true": (True, {}, "a", []),
    "no session": (0, {}, None, []),
    "a session in a list": (0, {}, ["a"], []),
    "a session of a megabyte": (0, {}, "a" * (1 << 19), []),
    "a session with a path": (0, {}, "../a", []),
}


@pytest.mark.parametrize("name", JOINS)
def test_what_is_no_event_is_refused_with_a_line(page: Page, name: str) -> None:
    refused = page.join(*JOINS[name])
    assert (refused.status_code, refused.text) == (400, "this is no event of the page")
    assert page.is_quiet()


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff\xfe", b"{", b"[" * 100_000, b'{"fn_index": 0}'])
def test_a_body_that_is_no_event_is_refused_with_a_line(page: Page, body: bytes) -> None:
    assert page.post("gradio_api/queue/join", body).status_code == 400
    assert page.is_quiet()


@pytest.mark.parametrize("inputs", [[], ["a", "b"], [{"path": "/etc/passwd"}], "text", None, [-5]])
def test_values_that_are_the_servers_own_are_not_taken_from_a_request(page: Page, inputs: object) -> None:
    page.join(1, {"index": 0}, f"own{abs(hash(str(inputs)))}", inputs)
    assert "Test image 0," in page.answer({"index": 0}, 1, f"own{abs(hash(str(inputs)))}")
    assert page.is_quiet()


def test_a_body_beyond_all_drawings_is_refused_before_it_is_kept(page: Page) -> None:
    refused = page.post("gradio_api/queue/join", b" " * (1 << 21))
    assert (refused.status_code, refused.text) == (413, "a request has at most 1048576 bytes")
    assert page.is_quiet()


@pytest.mark.parametrize("content", [picture(1), huge(), b"x" * (1 << 22), b"<svg onload='x'/>", b"#!/bin/sh"])
def test_nothing_can_be_uploaded(page: Page, content: bytes) -> None:
    before = sorted(page.console.parent.joinpath("tmp").rglob("*"))
    sent = requests.post(f"{page.url}gradio_api/upload", files={"files": ("a.png", content)}, timeout=30)
    assert sent.status_code == 404
    assert sorted(page.console.parent.joinpath("tmp").rglob("*")) == before
    assert page.is_quiet()


FILES = [
    *("/etc/passwd", "../../../etc/passwd", "params.yaml", "/proc/self/environ", "", ".", "\0", "https://example.org/"),
    *("{tmp}/../params.yaml", "{own}/../../params.yaml", "{folder}/params.yaml"),
]


@pytest.mark.parametrize("route", ["gradio_api/file=", "gradio_api/file/", "file=", "gradio_api/proxy="])
@pytest.mark.parametrize("name", FILES)
def test_nothing_of_the_disk_is_served_but_the_pages_own_files(page: Page, route: str, name: str) -> None:
    folder = page.console.parent
    own = next((folder / "tmp").glob("bnbench-demo-*"))
    path = quote(name.format(tmp=folder / "tmp", own=own, folder=folder), safe="")
    assert page.get(route + path).status_code in (403, 404)
    assert page.is_quiet()


def test_the_shelfs_images_and_all_that_the_page_links_to_are_served(page: Page) -> None:
    html = page.get("")
    assert html.status_code == 200
    links = {link.lstrip("./") for link in re.findall(r'(?:src|href)="(\.?/[^"]+)"', html.text)}
    config = page.get("config").json()
    (gallery,) = [part for part in config["components"] if part["type"] == "gallery"]
    images = {value["image"]["url"].removeprefix(page.url) for value in gallery["props"]["value"]}
    assert len(images) == 16
    assert links
    assert {link: page.get(link).status_code for link in links | images} == dict.fromkeys(links | images, 200)
    assert page.is_quiet()


@pytest.mark.parametrize(
    "path", ["gradio_api/run/draw", "gradio_api/call/draw", "gradio_api/component_server", "login"]
)
def test_there_is_no_way_beside_the_pages_events(page: Page, path: str) -> None:
    assert page.post(path, b'{"data": []}').status_code == 404
    assert page.is_quiet()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "0.0.0.0", "[::1]", ""]
)
def test_a_page_under_another_name_is_refused(page: Page, host: str) -> None:
    assert page.get("", Host=host).status_code in (400, 403)
    body = {"fn_index": 0, "event_data": {"strokes": DOT}, "session_hash": "a", "data": []}
    assert page.post("gradio_api/queue/join", json.dumps(body).encode(), Host=host).status_code in (400, 403)
    assert page.is_quiet()


def test_the_page_is_served_to_this_machine_alone(page: Page) -> None:
    port = int(page.url.rstrip("/").rpartition(":")[2])
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if " 0A " in line]
    assert [place for place in listening if place.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
    assert page.get("", Host=f"localhost:{port}").status_code == 200


@pytest.mark.parametrize("content", [b"\x16\x03\x01\x02", b"GET\r\n\r\n", b"\0" * 1000, b"GET / HTTP/9.9\r\n\r\n"])
def test_bytes_that_are_no_http_leave_nothing_on_the_console(page: Page, content: bytes) -> None:
    port = int(page.url.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(content)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert page.get("").status_code == 200
    assert page.is_quiet()


def test_after_all_of_this_a_drawing_is_answered(page: Page) -> None:
    assert "Your drawing of 1 stroke," in page.answer({"strokes": DOT})
    assert "Nothing drawn yet" in page.answer({"strokes": []})
    assert "Test image 3," in page.answer({"index": 3}, 1)
    page.answer(None, 2, "turned")
    assert "Test image 19," in page.answer({"index": 3}, 1, "turned")
    assert page.is_quiet()
