"""Parameter files that extend another one (`extends: ../../params.yaml`), read as one document.

A file that states only its studies shares data sets and training defaults with another, so that both have the same
run ids where their settings agree.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnbench.core import yaml_reader
from bnbench.core.errors import UserError
from bnbench.core.yaml_reader import Document, Key
from bnbench.params.problems import Problem, listed

# keys that are never inherited: each file states its own
OWN = frozenset({"extends", "tier", "max_runs", "studies"})


@dataclass(frozen=True, kw_only=True)
class Extended(Document):
    """A parameter file merged with the one that it extends. Each entry is located in the file that states it."""

    base: Document

    def where(self, key: Key) -> str:
        """Return `file:line: key` of the deepest part of `key` that one of the files has."""
        return self.base.where(key) if self._inherited(key) else super().where(key)

    def _inherited(self, key: Key) -> bool:
        """Return whether the value at `key` comes from the extended file."""
        section, entry = key[0], key[:2]
        if section in OWN or entry in self.lines:
            return False
        entries = self.base.values.get(section) if isinstance(section, str) else None
        return key[:1] not in self.lines or (isinstance(entries, dict) and len(entry) == 2 and entry[1] in entries)


def read(path: Path) -> Document:
    """Read a parameter file and the files that it extends, directly or through others.

    `tiers`, `datasets`, `augmentations` and `training` are inherited. An entry of the file itself (a tier, a data set,
    an augmentation, a setting of `training`) replaces the inherited one of the same name.

    Raises:
        UserError: a file is missing or no YAML, or the files extend each other in a circle.
    """
    return _read(path, ())


def files(path: Path) -> list[Path]:
    """Return the path of a parameter file and of all that it extends, itself first.

    Raises:
        UserError: as for `read`.
    """
    document = read(path)
    found = [document.path]
    while isinstance(document, Extended):
        document = document.base
        found.append(document.path)
    return found


def _read(path: Path, extending: tuple[Path, ...]) -> Document:
    """Read a file; `extending` are the files that led to it, the first one first."""
    document = yaml_reader.read(path)
    if "extends" not in document.values:
        return document
    base = _read(_extended(document, extending), (*extending, path))
    values = {key: value for key, value in base.values.items() if key not in OWN}
    merged = {key: _merge(values.get(key), value) for key, value in document.values.items()}
    return Extended(path, values | merged, document.lines, base=base)


def _extended(document: Document, extending: tuple[Path, ...]) -> Path:
    """Return the path of the file that a document extends.

    Raises:
        UserError: there is no such file, or it is one of those that led to this document.
    """
    rule, named = "extends names a parameter file, relative to the folder of this one", document.values["extends"]
    if not isinstance(named, str) or not named:
        raise _refused(document, f"{rule}; expected a path, as `extends: ../params.yaml`, got {named!r}")
    path = document.path.parent / named
    if not path.is_file():
        raise _refused(document, f"{rule}, and there is no file {path}; correct the path or leave `extends` out")
    chain = [*extending, document.path, path]
    if path.resolve() in [other.resolve() for other in chain[:-1]]:
        circle = " -> ".join(map(str, chain))
        raise _refused(document, f"files extend each other in a circle: {circle}; leave `extends` out of one of them")
    return path


def _refused(document: Document, text: str) -> UserError:
    return UserError(listed(document, [Problem(("extends",), text)]))


def _merge(inherited: Any, own: Any) -> Any:
    """Return the entries of both mappings, the own ones before inherited ones; anything else is replaced."""
    return inherited | own if isinstance(inherited, dict) and isinstance(own, dict) else own
