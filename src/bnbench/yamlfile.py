"""The one YAML reader of the project: strict YAML 1.2, no code, no duplicate keys, every value with its line.

Snakemake reads YAML 1.1 (`5e-6` is text, `no` is false), DVC reads YAML 1.2; all of bnbench reads by this module.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from bnbench.errors import UserError

MAX_BYTES = 1_000_000  # a params.yaml is some 10 kB
MAX_VALUES = 200_000  # aliases of aliases can unfold without bound

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A YAML file as plain Python values, and the line of each key and list item."""

    path: Path
    values: dict[str, Any]
    lines: dict[Key, int] = field(default_factory=dict)

    def where(self, key: Key) -> str:
        """`file:line: key` of the deepest part of `key` that stands in the file."""
        for end in range(len(key), 0, -1):
            if key[:end] in self.lines:
                return f"{self.path}:{self.lines[key[:end]]}: {dotted(key)}"
        return f"{self.path}: {dotted(key)}"


def dotted(key: Key) -> str:
    """A key path as a person writes it: `studies.E1.grid.product.seed[2]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return text.removeprefix(".")


def read(path: Path) -> Document:
    """Read a YAML 1.2 mapping.

    Raises:
        UserError: no file, not UTF-8, not YAML, a duplicate key, a tag, a date, or no mapping at the top.
    """
    parser = YAML(typ="rt")
    parser.version = (1, 2)
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise UserError(f"{path}: {len(content)} bytes; a parameter file has at most {MAX_BYTES}")
        tree = parser.load(content.decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run from the project's folder or name one with --params") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(f"{path}:{line}: {str(error.problem).splitlines()[0]}; keep one of the two") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(f"{path}:{line}: not YAML: {error.problem}") from None
    except (YAMLError, OSError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if not isinstance(tree, CommentedMap):
        raise UserError(f"{path}: a parameter file is a mapping of keys; this one is {type(tree).__name__}")
    document = Document(path, {})
    document.values.update(_plain(tree, (), document))
    return document


def _plain(node: Any, key: Key, document: Document) -> Any:
    if len(document.lines) > MAX_VALUES:
        raise UserError(f"{document.path}: over {MAX_VALUES} values (aliases that unfold?)")
    if isinstance(node, CommentedMap):
        for name in node:
            if not isinstance(name, str):
                raise UserError(f"{document.where(key)}: key {name!r} is not text; put it in quotes")
            document.lines[(*key, name)] = node.lc.key(name)[0] + 1 if name in node.lc.data else node.lc.line + 1
        return {str(name): _plain(value, (*key, str(name)), document) for name, value in node.items()}
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            document.lines[(*key, index)] = node.lc.item(index)[0] + 1
        return [_plain(value, (*key, index), document) for index, value in enumerate(node)]
    if node is None or isinstance(node, bool):
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return bool(node) if type(node).__name__ == "ScalarBoolean" else kind(node)
    raise UserError(f"{document.where(key)}: {type(node).__name__} is neither text, number, true/false nor null")
