"""The only YAML reader of the project: strict YAML 1.2, no tags, no duplicate keys, every value with its line.

Snakemake reads YAML 1.1 (`5e-6` is text, `no` is false), DVC reads YAML 1.2; all of bnbench reads by this module.
ruamel.yaml only splits the text into events; values are built here, by the core schema of YAML 1.2.2. Its round-trip
loader would not be shorter: it makes dates and integers of `2001-01-01` and `1_000`, has no limit on depth (it ends in
a RecursionError) and does not count what aliases expand to, so each of these would need a check of its own.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from bnbench.core.errors import UserError

MAX_BYTES = 1_000_000  # a params.yaml is some 50 kB
MAX_VALUES = 50_000  # nested aliases can expand without bound
MAX_ALIASES = 1_000
MAX_DEPTH = 50
MAX_DIGITS = 400
MAX_WHOLE = 2**63 - 1  # the largest integer of tables and JSON
SHOWN = 8  # keys of a mapping that a message shows

Key = tuple[str | int, ...]

# plain scalars of YAML 1.2.2, chapter 10.3.2; all others are text: no, 1_000, 12:30:45, 2001-01-01
CORE: dict[str, Callable[[str], object]] = {
    r"null|Null|NULL|~|": lambda _: None,
    r"true|True|TRUE": lambda _: True,
    r"false|False|FALSE": lambda _: False,
    r"[-+]?[0-9]+": int,
    r"0o[0-7]+": lambda text: int(text, 8),
    r"0x[0-9a-fA-F]+": lambda text: int(text, 16),
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?": float,
    r"[-+]?\.(inf|Inf|INF)": lambda text: float(text.replace(".", "")),
    r"\.(nan|NaN|NAN)": lambda _: float("nan"),
}


@dataclass(frozen=True)
class Document:
    """The values of a YAML file, and the line of each key and list item."""

    path: Path
    values: dict[str, Any]
    lines: dict[Key, int] = field(default_factory=dict)

    def where(self, key: Key) -> str:
        """Return `file:line: key`, with the line of the longest part of the key that is in the file."""
        for end in range(len(key), 0, -1):
            if key[:end] in self.lines:
                return f"{self.path}:{self.lines[key[:end]]}: {dotted(key)}"
        return f"{self.path}: {dotted(key)}"


def dotted(key: Key) -> str:
    """Return a key path as text: `studies.E1.grid.product.seed[2]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_name(part)}" for part in key)
    return text.removeprefix(".")


def _name(part: str) -> str:
    """Return a key, escaped and shortened so that it fits in a line of a message."""
    text = part if part.isprintable() else repr(part)
    return text if len(text) <= 80 else f"{text[:77]}..."


def read(path: Path) -> Document:
    """Read a YAML 1.2 mapping.

    Raises:
        UserError: the file is missing, not UTF-8 or not YAML, has a duplicate key or a tag, or is not a mapping.
    """
    text = _text(path)
    builder = _Builder(path, YAML(typ="safe", pure=True).parse(text))
    try:
        values = builder.document()
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not YAML: {error.problem or error.context}") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{path}:{line}: the character U+{error.character:04X} may not stand in YAML") from None
    except YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    return Document(path, values, builder.lines)


def _flow(value: object) -> str:
    """Return a value in YAML's flow style, shortened to fit in a line."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run from the project's folder or name one with --params") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: more than {MAX_BYTES} bytes, which no parameter file needs; is it another file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


class _Builder:
    """Builds values from events, with limits on depth, aliases and the total number of values."""

    def __init__(self, path: Path, events: Iterator[Any]) -> None:
        self.path, self.events = path, events
        self.lines: dict[Key, int] = {}
        self.anchors: dict[str, tuple[Any, int]] = {}  # the value, and the number of values in it
        self.count = self.aliases = 0

    def document(self) -> dict[str, Any]:
        """Build the mapping at the top of the file."""
        next(self.events)  # the stream's start
        event = next(self.events)
        if isinstance(event, DocumentStartEvent):
            if event.version or event.tags:
                raise self.error(event, (), "a %YAML or %TAG directive; leave it out, the file is YAML 1.2")
            event = next(self.events)
        if not isinstance(event, MappingStartEvent):
            kind = {SequenceStartEvent: "a list", StreamEndEvent: "empty"}.get(type(event), "a single value")
            raise self.error(event, (), f"a parameter file is a mapping of keys, as `tier: quick`; this one is {kind}")
        values: dict[str, Any] = self.value(event, ())
        next(self.events)  # the document's end
        rest = next(self.events)
        if not isinstance(rest, StreamEndEvent):
            raise self.error(rest, (), "another document (`---`) in the same file; keep one")
        return values

    def value(self, event: Any, key: Key) -> Any:
        """Build the value that starts with `event`."""
        self.count += 1
        if self.count > MAX_VALUES:
            raise self.error(event, key, f"over {MAX_VALUES} values in the file (nested aliases?)")
        if isinstance(event, AliasEvent):
            return self.alias(event, key)
        if event.tag is not None:
            raise self.error(event, key, f"the tag {event.tag!r}; tags are not allowed, write the plain value")
        if len(key) > MAX_DEPTH:
            raise self.error(event, (), f"lists and mappings more than {MAX_DEPTH} deep")
        before = self.count
        if isinstance(event, MappingStartEvent):
            value: Any = self.mapping(key)
        elif isinstance(event, SequenceStartEvent):
            value = self.sequence(key)
        else:
            value = self.scalar(event, key)
        if event.anchor:
            self.anchors[event.anchor] = (value, self.count - before)
        return value

    def alias(self, event: Any, key: Key) -> Any:
        """Return the value of an anchor. It is shared, but counted as if it were written out."""
        if event.anchor not in self.anchors:
            raise self.error(event, key, f"no value is marked &{event.anchor} above *{event.anchor}")
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise self.error(event, key, f"over {MAX_ALIASES} aliases (as *{event.anchor}); write the values out")
        value, size = self.anchors[event.anchor]
        self.count += size
        return value

    def mapping(self, key: Key) -> dict[str, Any]:
        """Build a mapping. Its keys are texts, each at most once."""
        values: dict[str, Any] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            name = self.value(event, key) if isinstance(event, ScalarEvent) else None
            if not isinstance(name, str):
                seen = repr(event.value) if isinstance(event, ScalarEvent) else "a list, mapping or alias"
                raise self.error(event, key, f"a key that is not text: {seen}; put it in quotes")
            here = (*key, name)
            if name == "<<" and event.implicit[0]:
                raise self.error(event, key, self.merged(next(self.events)))
            if name in values:
                raise self.error(event, here, f"stands twice, first in line {self.lines[here]}; keep one of the two")
            self.lines[here] = event.start_mark.line + 1
            values[name] = self.value(next(self.events), here)
        return values

    def merged(self, event: Any) -> str:
        """Return the message about a merge key whose value starts with `event`, with the keys to write instead."""
        value = (
            self.anchors[event.anchor][0] if isinstance(event, AliasEvent) and event.anchor in self.anchors else None
        )
        rule = "`<<` merges mappings in YAML 1.1 alone, and this file is YAML 1.2"
        if not isinstance(value, dict):
            return f"{rule}; write the keys of the merged mappings out here"
        keys = [f"{name}: {_flow(item)}" for name, item in value.items()]
        more = ", ..." if len(keys) > SHOWN else ""
        return f"{rule}; in place of `<<: *{event.anchor}` write its keys out: {', '.join(keys[:SHOWN])}{more}"

    def sequence(self, key: Key) -> list[Any]:
        """Build a list."""
        values: list[Any] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            here = (*key, len(values))
            self.lines[here] = event.start_mark.line + 1
            values.append(self.value(event, here))
        return values

    def scalar(self, event: Any, key: Key) -> Any:
        """Build a scalar: a text, or the value of a plain scalar by the core schema."""
        text: str = event.value
        for char in text:
            if char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cs"):
                raise self.error(event, key, f"text with the control character U+{ord(char):04X}; remove it")
        if not event.implicit[0]:  # in quotes, or a block
            return text
        for pattern, make in CORE.items():
            if re.fullmatch(pattern, text):
                if len(text) > MAX_DIGITS:
                    raise self.error(event, key, f"a number of {len(text)} digits; at most {MAX_DIGITS}")
                return self.number(event, key, make(text))
        return text

    def number(self, event: Any, key: Key, value: object) -> object:
        """Check that a number fits: an integer in 64 bits, a float in the range of a double."""
        if isinstance(value, int) and abs(value) > MAX_WHOLE:
            raise self.error(event, key, f"the whole number {event.value[:40]} is beyond 64 bits; write it as 1e20")
        if isinstance(value, float) and math.isinf(value) and "inf" not in event.value.lower():
            raise self.error(
                event, key, f"the number {event.value[:40]} is beyond 1.8e308, the largest number possible"
            )
        return value

    def error(self, event: Any, key: Key, problem: str) -> UserError:
        """Return an error with file, line and key of the event."""
        where = f" {dotted(key)}:" if key else ""
        return UserError(f"{self.path}:{event.start_mark.line + 1}:{where} {problem}")
