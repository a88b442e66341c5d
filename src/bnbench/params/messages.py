"""What the schema refuses, in words: where, what was seen, what is allowed, the nearest name."""

import difflib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bnbench.core.errors import UserError
from bnbench.core.yaml_reader import Document, Key
from bnbench.params.schema import Params

Loc = tuple[str | int, ...]
Schema = TypeVar("Schema", bound=BaseModel)
MAX_TOLD = 200  # violations of a schema that one message tells

# pydantic's kind of violation -> what is expected there, given the violation's own numbers and the value seen
EXPECTED = {
    "literal_error": "{expected}",
    "union_tag_invalid": "{expected_tags}",
    "union_tag_not_found": "a mapping with a `kind`, as `{{kind: constant}}`",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text (put it in quotes)",
    "list_type": "a list, as `{name}: [{value}]`",
    "too_short": "a list of at least {min_length} value",
    "too_long": "a list of at most {max_length} values",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping with a `kind`, as `{{kind: constant}}`",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "finite_number": "a finite number",
    "string_too_short": "text that is not empty",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
}


def validated(document: Document, schema: type[Schema]) -> Schema:
    """Hold a document against a schema.

    Raises:
        UserError: all violations, a line each.
    """
    try:
        return schema.model_validate(document.values)
    except ValidationError as error:
        raise UserError(describe(document, error, schema)) from None


def describe(document: Document, error: ValidationError, schema: type[BaseModel] = Params) -> str:
    """All violations of a schema, a line each; what several branches of a choice expected is joined by `or`."""
    lines: dict[str, None] = {}
    expected: dict[Key, list[str]] = defaultdict(list)
    values: dict[Key, Any] = {}
    details = error.errors(include_url=False)
    for detail in details[:MAX_TOLD]:
        loc = detail["loc"] + (("kind",) if detail["type"] == "union_tag_invalid" else ())
        key, value = _place(document.values, loc)
        if detail["type"] == "missing" and isinstance(loc[-1], int):
            lines[f"{document.where(key)}: expected more than {loc[-1]} values, got {_short(value)}"] = None
        elif detail["type"] in ("extra_forbidden", "missing"):
            lines[_named(document, key, detail, schema)] = None
        elif (what := _expected(detail, key, value)) not in expected[key]:
            expected[key].append(what)
            values[key] = value
    for key, whats in expected.items():
        rule = " or ".join(whats).replace(" or expected", " or")
        lines[f"{document.where(key)}: {rule}, got {_short(values[key])}{_remedy(rule, values[key])}"] = None
    if len(details) > MAX_TOLD:
        lines[f"... and {len(details) - MAX_TOLD} more"] = None
    return "\n".join(lines)


def nearest(word: str, allowed: list[str]) -> str:
    """`; did you mean ...?` when one of the allowed words is close."""
    close = difflib.get_close_matches(word, allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _named(document: Document, key: Key, detail: Any, schema: type[BaseModel]) -> str:
    """An unknown or a missing key."""
    around = list(_models(detail["loc"][:-1], schema))
    if detail["type"] == "missing":
        info = next((model.model_fields[str(key[-1])] for model in around if key[-1] in model.model_fields), None)
        words = _literals(info.annotation) if info else []
        hint = info.description if info and info.description else " or ".join(map(repr, words))
        return f"{document.where(key)}: required, but missing{f' ({hint})' if hint else ''}; add it"
    known = list(dict.fromkeys(name for model in around for name in model.model_fields))
    return f"{document.where(key)}: unknown key; known here: {', '.join(known)}{nearest(str(key[-1]), known)}"


def _expected(detail: Any, key: Key, value: Any) -> str:
    """The rule that a value breaks."""
    if detail["type"] in EXPECTED:
        name = next((part for part in reversed(key) if isinstance(part, str)), "")
        shown = "..." if value is None else json.dumps(value, default=str)
        numbers = {key: f"{rule:g}" if isinstance(rule, float) else rule for key, rule in detail.get("ctx", {}).items()}
        return "expected " + EXPECTED[detail["type"]].format(**numbers, name=name, value=shown)
    message: str = detail["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _remedy(rule: str, value: Any) -> str:
    """The nearest allowed word, or how a number in text is written."""
    if not isinstance(value, str):
        return ""
    plain = value.replace("_", "")
    if "number" in rule and re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", plain):
        return f"; write {plain}, without quotes or underscores"
    return nearest(value, re.findall(r"'(\w+)'", rule))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _place(values: Any, loc: Loc) -> tuple[Key, Any]:
    """The part of an error's place that stands in the document (not the names of a choice's branches)."""
    key: Key = ()
    for index, part in enumerate(loc):
        if part == "[key]":
            return key, key[-1]
        if _holds(values, part):
            values, key = values[part], (*key, part)
        elif isinstance(values, dict) and index == len(loc) - 1:
            return (*key, part), None  # a missing key
    return key, values


def _holds(values: Any, part: str | int) -> bool:
    if isinstance(values, list):
        return isinstance(part, int) and part < len(values)
    return isinstance(values, dict) and part in values


def _models(loc: Loc, schema: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The schema's models at a violation's place: several where any branch of a choice may stand."""
    kinds: list[Any] = [schema]
    for part in loc:
        kinds = [below for kind in kinds for below in _below(kind, part)]
    yield from (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))


def _below(kind: Any, part: str | int) -> list[Any]:
    """What may stand at `part` of a model, mapping or list; a choice's branch, chosen by its `kind`, is itself."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if part in kind.model_fields:
            return list(_branches(kind.model_fields[str(part)].annotation))
        return [kind] if "kind" in kind.model_fields and part in _literals(kind.model_fields["kind"].annotation) else []
    arguments = get_args(kind)
    return list(_branches(arguments[-1])) if arguments else []


def _branches(annotation: Any) -> Iterator[Any]:
    """The branches of a choice, without their annotations."""
    if get_origin(annotation) is Annotated:
        yield from _branches(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _branches(argument)
    else:
        yield annotation


def _literals(annotation: Any) -> list[Any]:
    return [word for kind in _branches(annotation) if get_origin(kind) is Literal for word in get_args(kind)]
