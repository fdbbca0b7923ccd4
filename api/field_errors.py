"""Turns pydantic's errors into field, value and allowed values, in the words of a published JSON schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from api.shapes import FieldError
from services.errors import REFUSED

Json = dict[str, Any]
M = TypeVar("M", bound=BaseModel)

MAX_ERRORS = 50
"""Errors of one body that are told one by one; the last entry counts the others."""
AN_OBJECT = "a JSON object, sent as application/json"


class InvalidFields(Exception):
    """A body whose fields are wrong; holds one error for each."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(error.sentence for error in errors))
        self.errors = errors


@contextmanager
def checked_as(schema: Json) -> Iterator[None]:
    """Turn a ``ValidationError`` into ``InvalidFields`` that name what the schema of the data allows."""
    try:
        yield
    except ValidationError as error:
        raise InvalidFields(translate(error.errors(include_url=False), schema)) from error


def checked(model: type[M], body: Json) -> M:
    """Return a body as a model, or raise ``InvalidFields``; a text is no number, a number no text, true no 1."""
    with checked_as(schema_of(model)):
        return model.model_validate_json(json.dumps(body), strict=True)


def body_of(model: type[BaseModel]) -> Json:
    """Return what the OpenAPI document says of a route whose body `checked` checks."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema_of(model)}}}}


@cache
def schema_of(model: type[BaseModel]) -> Json:
    """Return the JSON schema of a model."""
    return model.model_json_schema()


def inlined(schema: Json) -> Json:
    """Return a schema whose definitions stand where they are used, for a document that has none of their names."""
    definitions = schema.get("$defs", {})

    def put(node: Any) -> Any:
        if isinstance(node, list):
            return [put(inner) for inner in node]
        if not isinstance(node, dict):
            return node
        found = definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else {}
        return {name: put(inner) for name, inner in (found | node).items() if name not in ("$ref", "$defs")}

    whole: Json = put(schema)
    return whole


def translate(errors: Sequence[Mapping[str, Any]], schema: Json | None = None) -> list[FieldError]:
    """Return what a caller needs to mend each of pydantic's errors.

    Args:
        errors: as pydantic lists them.
        schema: of the data, for names and bounds that the errors leave out.
    """
    told = errors if len(errors) <= MAX_ERRORS else errors[: MAX_ERRORS - 1]
    left_out, errors = len(errors) - len(told), told
    places = [tuple(error["loc"]) for error in errors]
    found = [
        _translate(error, schema or {})
        for error, place in zip(errors, places, strict=True)
        # A list with a wrong element also counts as too short; the element's error says it all.
        if error["type"] != "too_short" or not any(other[: len(place)] == place != other for other in places)
    ]
    if left_out:
        found.append(FieldError.of("body", f"{left_out} more errors", "none; mend those that are listed first"))
    return found


def _translate(error: Mapping[str, Any], schema: Json) -> FieldError:
    names, node, parent = _walk(schema, error["loc"])
    field, value, context = ".".join(names) or "body", error.get("input"), error.get("ctx", {})
    if error["type"] == REFUSED:
        return FieldError.of(".".join(filter(None, (*names, context["field"]))), context["value"], context["allowed"])
    allowed = _described(node) or _plain(error["msg"])
    match error["type"]:
        case "extra_forbidden":
            allowed = _listed(parent.get("properties", ())) or "no other fields"
        case "missing":
            value, allowed = None, f"required, {_described(node) or (AN_OBJECT if not names else 'any value')}"
        case "union_tag_invalid" | "union_tag_not_found":
            field = f"{field}.{str(context['discriminator']).strip(chr(39))}"
            value, allowed = context.get("tag"), _listed(node.get("discriminator", {}).get("mapping", ()))
        case "literal_error":
            allowed = _described(node) or f"one of {context['expected'].replace(chr(39), '')}"
        case "dict_type" | "model_type" | "model_attributes_type":
            allowed = _described(node) or AN_OBJECT
        case "json_invalid":
            field, value = "body", None
            allowed = f"JSON; {context['error']} at character {error['loc'][-1]}"
    return FieldError.of(field, value, allowed)


def _walk(schema: Json, loc: Sequence[int | str]) -> tuple[list[str], Json, Json]:
    """Follow a location into a schema; return the field's names, its node and its parent's node."""
    names: list[str] = []
    node, parent = schema, schema
    for step in loc:
        here = _resolved(schema, node)
        tags = here.get("discriminator", {}).get("mapping", {})
        if step in tags:
            node = {"$ref": tags[step]}
            continue
        if (branch := _branch(here, step)) is not None:
            node = branch
            continue
        names.append(str(step))
        parent, node = here, _child(here, step)
    return names, _resolved(schema, node), parent


def _branch(node: Json, step: int | str) -> Json | None:
    """Return the branch of a union that a value was taken for by its form: a text, a list, or the object of a name."""
    for branch in node.get("oneOf", ()):
        title = branch.get("$ref", "").rpartition("/")[2] or {"string": "text", "array": "list"}.get(branch.get("type"))
        if title == step:
            found: Json = branch
            return found
    return None


def _resolved(schema: Json, node: Json) -> Json:
    """Follow references, and the one branch of a union that is not null."""
    if "$ref" in node:
        target: Json = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return _resolved(schema, {**target, **{key: value for key, value in node.items() if key != "$ref"}})
    branches = [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]
    return _resolved(schema, branches[0]) if len(branches) == 1 else node


def _child(node: Json, step: int | str) -> Json:
    found = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
    return found if isinstance(found, dict) else {}


def _listed(names: Any) -> str:
    found = [name if isinstance(name, str) else json.dumps(name) for name in names]
    return f"one of {', '.join(found)}" if found else ""


def _described(node: Json) -> str:
    """Say in words what a schema allows; nothing where it says nothing."""
    if "enum" in node or "const" in node:
        return _listed(node.get("enum", [node.get("const")]))
    if "discriminator" in node:
        tags = node["discriminator"]
        return f"an object whose {tags['propertyName']} is {_listed(tags['mapping'])}"
    words: dict[str, Callable[[Json], str]] = {
        "integer": _described_number,
        "number": _described_number,
        "array": _described_list,
        "string": _described_string,
        "object": lambda _: "an object",
        "boolean": lambda _: "true or false",
    }
    return words[node["type"]](node) if node.get("type") in words else ""


BOUNDS = {
    "exclusiveMinimum": "greater than",
    "minimum": "at least",
    "exclusiveMaximum": "less than",
    "maximum": "at most",
    "multipleOf": "a multiple of",
}


def _described_number(node: Json) -> str:
    kind = "an integer" if node["type"] == "integer" else "a number"
    if "minimum" in node and "maximum" in node:
        return f"{kind} from {node['minimum']} to {node['maximum']}"
    return f"{kind} {' and '.join(f'{words} {node[key]}' for key, words in BOUNDS.items() if key in node)}".strip()


def _described_list(node: Json) -> str:
    least, most = node.get("minItems", 0), node.get("maxItems")
    length = f"{least} to {most} values" if most else f"{least} or more values"
    each = _described(node.get("items", {}))
    return f"a list of {length}, each {each}" if each else f"a list of {length}"


def _described_string(node: Json) -> str:
    least, most, pattern = node.get("minLength", 0), node.get("maxLength"), node.get("pattern")
    words = "a string" + (f" of {least} to {most} characters" if most else "")
    return words + (f" that matches {pattern}" if pattern else "")


def _plain(message: str) -> str:
    """Drop pydantic's opening words: "Input should be at most 3" becomes "at most 3"."""
    subject, _, words = message.partition(" should ")
    return words.removeprefix("be ") if subject in {"Input", "Value", "String"} else message
