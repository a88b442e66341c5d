"""Validation of the program's own JSON files against their models."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from bnbench.core.files import Unreadable

Value = TypeVar("Value")


def validated(kind: type[Value], value: object, path: Path, remedy: str) -> Value:
    """Return the content of a file as an instance of `kind`.

    Args:
        kind: a pydantic model, or a list of one.
        value: the parsed JSON.
        path: the file that the value was read from, for the message.
        remedy: what to do if the file cannot be used.

    Raises:
        Unreadable: the value does not fit `kind`; the message names the file, the first key that is wrong, and why.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Unreadable(path, f"{where}: {first['msg']}" if where else first["msg"], remedy) from None
