"""Violations of a pydantic schema as messages for users: the expected and the actual value, the nearest valid name."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bnbench.core.errors import UserError
from bnbench.core.yaml_reader import Document, Key
from bnbench.params.problems import MAX_SHOWN, Problem, listed, nearest

Loc = tuple[str | int, ...]
Schema = TypeVar("Schema", bound=BaseModel)

# pydantic's type of error -> the expected value; a template over the error's context, the key's name and the value
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
    """Return a document's values as an instance of a schema.

    Raises:
        UserError: at least one violation of the schema; one line each, with file, line and key.
    """
    try:
        return schema.model_validate(document.values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        found = violations(document.values, details[:MAX_SHOWN], schema)
        raise UserError(listed(document, found, len(details[MAX_SHOWN:]))) from None


def violations(values: Any, details: Sequence[ErrorDetails], schema: type[BaseModel]) -> Iterator[Problem]:
    """Yield a problem per unknown, missing or wrong key.

    pydantic reports a value that fits no branch of a union once per branch; these become one problem, with the
    expectations joined by `or`.

    Args:
        values: the document as it was read.
        details: pydantic's account of the violations.
        schema: the model that was validated.
    """
    expected: dict[Key, list[str]] = defaultdict(list)
    seen: dict[Key, Any] = {}
    for detail in details:
        loc = detail["loc"] + (("kind",) if detail["type"] == "union_tag_invalid" else ())
        key, value = _locate(values, loc)
        if detail["type"] == "missing" and isinstance(loc[-1], int):
            yield Problem(key, f"expected more than {loc[-1]} values, got {_short(value)}")
        elif detail["type"] in ("extra_forbidden", "missing"):
            yield Problem(key, _unknown_or_missing(key, detail, schema))
        elif (rule := _expected(detail, key, value)) not in expected[key]:
            expected[key].append(rule)
            seen[key] = value
    for key, rules in expected.items():
        rule = " or ".join(rules).replace(" or expected", " or")
        yield Problem(key, f"{rule}, got {_short(seen[key])}{_remedy(rule, seen[key])}")


def _unknown_or_missing(key: Key, detail: ErrorDetails, schema: type[BaseModel]) -> str:
    """Describe an unknown key (with the keys allowed there) or a missing one (with its documentation)."""
    around = list(_models(detail["loc"][:-1], schema))
    if detail["type"] == "missing":
        info = next((model.model_fields[str(key[-1])] for model in around if key[-1] in model.model_fields), None)
        words = _literals(info.annotation) if info else []
        hint = info.description if info and info.description else " or ".join(map(repr, words))
        return f"required, but missing{f' ({hint})' if hint else ''}; add it"
    known = list(dict.fromkeys(name for model in around for name in model.model_fields))
    return f"unknown key; known here: {', '.join(known)}{nearest(str(key[-1]), known)}"


def _expected(detail: ErrorDetails, key: Key, value: Any) -> str:
    """Return the rule that a value violates."""
    if detail["type"] in EXPECTED:
        name = next((part for part in reversed(key) if isinstance(part, str)), "")
        shown = "..." if value is None else json.dumps(value, default=str)
        context = {key: f"{rule:g}" if isinstance(rule, float) else rule for key, rule in detail.get("ctx", {}).items()}
        return "expected " + EXPECTED[detail["type"]].format(**context, name=name, value=shown)
    message = detail["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _remedy(rule: str, value: Any) -> str:
    """Return the nearest allowed word, or the spelling of a number that was written as text."""
    if not isinstance(value, str):
        return ""
    plain = value.replace("_", "")
    if "number" in rule and re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", plain):
        return f"; write {plain}, without quotes or underscores"
    return nearest(value, re.findall(r"'(\w+)'", rule))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _locate(values: Any, loc: Loc) -> tuple[Key, Any]:
    """Return the key and value that pydantic's location points to; names of a union's branches are left out."""
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
    """Yield the models at a location of the schema: one per branch where a union is allowed."""
    kinds: list[Any] = [schema]
    for part in loc:
        kinds = [below for kind in kinds for below in _below(kind, part)]
    yield from (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))


def _below(kind: Any, part: str | int) -> list[Any]:
    """Return the types allowed at `part` of a model, mapping or list; a branch that `part` names is the type itself."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if part in kind.model_fields:
            return list(_branches(kind.model_fields[str(part)].annotation))
        return [kind] if "kind" in kind.model_fields and part in _literals(kind.model_fields["kind"].annotation) else []
    arguments = get_args(kind)
    return list(_branches(arguments[-1])) if arguments else []


def _branches(annotation: Any) -> Iterator[Any]:
    """Yield the branches of a union, without `Annotated`."""
    if get_origin(annotation) is Annotated:
        yield from _branches(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _branches(argument)
    else:
        yield annotation


def _literals(annotation: Any) -> list[Any]:
    """Return the words that an annotation allows."""
    return [word for kind in _branches(annotation) if get_origin(kind) is Literal for word in get_args(kind)]
