"""Turns pydantic's errors into field, value and allowed values, in the words of a published JSON schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from api.shapes import FieldError
from services.errors import REFUSED
from services.texts import WORDS

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


def body_of(model: type[BaseModel], example: Json) -> Json:
    """Return what the OpenAPI document says of a route whose body `checked` checks, with a body to try."""
    content = {"schema": inlined(schema_of(model)), "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


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
        _translate(error, walked)
        for error, walked in _once(errors, [_walk(schema or {}, place) for place in places])
        # A list with a wrong element also counts as too short; the element's error says it all.
        if error["type"] != "too_short" or not any(_within(other, error["loc"]) for other in places)
    ]
    if left_out:
        found.append(FieldError.of("body", f"{left_out} more errors", "none; mend those that are listed first"))
    return found


class Place(NamedTuple):
    """Where an error is in a schema.

    Attributes:
        names: of the field.
        node: its own.
        parent: the one above it.
        union: of several forms, of which the error is of one, if it stands on the way; None where none does.
        at: how many steps of the error's location lead to it.
    """

    names: Sequence[str]
    node: Json
    parent: Json
    union: Json | None = None
    at: int = 0


EMPTY = re.compile(r"''(, | or )")
"""The empty value, by which a form leaves a choice open: nobody would write it."""


def _within(place: Sequence[object], other: Sequence[object]) -> bool:
    """Say whether a location lies below another one."""
    return len(place) > len(other) and tuple(place[: len(other)]) == tuple(other)


def _once(errors: Sequence[Mapping[str, Any]], walked: Sequence[Place]) -> Iterator[tuple[Mapping[str, Any], Place]]:
    """Yield errors with their places, of a value that is of no form of a union one: pydantic tells one for each form.

    Where a part of the value is wrong in a form that it has, that is told.
    """
    unions = [
        None if place.union is None else tuple(error["loc"][: place.at])
        for error, place in zip(errors, walked, strict=True)
    ]
    depths = [len(error["loc"]) - place.at for error, place in zip(errors, walked, strict=True)]
    inside = {union for union, depth in zip(unions, depths, strict=True) if depth > 1}
    told: set[object] = set()
    for error, place, union, depth in zip(errors, walked, unions, depths, strict=True):
        if union is None or depth > 1:
            yield error, place
        elif union not in inside | told:
            told.add(union)
            yield error, place._replace(node=place.union or {})


def _translate(error: Mapping[str, Any], place: Place) -> FieldError:
    names, node, parent = place[:3]
    field, value, context = ".".join(names) or "body", error.get("input"), error.get("ctx", {})
    if error["type"] == REFUSED:
        return FieldError.of(".".join(filter(None, (*names, context["field"]))), context["value"], context["allowed"])
    allowed = _described(node) or _plain(error)
    match error["type"]:
        case "extra_forbidden":
            allowed = _listed(parent.get("properties", ())) or "no other fields"
        case "missing":
            value, allowed = None, f"required, {_described(node) or (AN_OBJECT if not names else 'any value')}"
        case "union_tag_invalid" | "union_tag_not_found":
            field = f"{field}.{str(context['discriminator']).strip(chr(39))}"
            value, allowed = context.get("tag"), _listed(node.get("discriminator", {}).get("mapping", ()))
        case "literal_error":
            named = EMPTY.sub("", context["expected"])
            allowed = _described(node) or f"one of {named.replace(chr(39), '')}"
        case "dict_type" | "model_type" | "model_attributes_type":
            allowed = _described(node) or AN_OBJECT
        case "json_invalid":
            field, value = "body", None
            allowed = f"JSON; {context['error']} at character {error['loc'][-1]}"
    return FieldError.of(field, value, allowed)


def _walk(schema: Json, loc: Sequence[int | str]) -> Place:
    """Follow a location into a schema."""
    names: list[str] = []
    node, parent = schema, schema
    union, at = None, 0
    for number, step in enumerate(loc):
        here = _resolved(schema, node)
        tags = here.get("discriminator", {}).get("mapping", {})
        if step in tags:
            node = {"$ref": tags[step]}
            continue
        if (branch := _branch(here, step)) is not None:
            union, at = {"forms": [_resolved(schema, each) for each in _forms(here)]}, number
            node = branch
            continue
        names.append(str(step))
        parent, node = here, _child(here, step)
    return Place(names, _resolved(schema, node), parent, union, at)


FORMS: Mapping[str, tuple[str, ...]] = {
    "string": ("text", "str", "constrained-str"),
    "array": ("list", "tuple"),
    "integer": ("int", "constrained-int"),
    "number": ("float", "constrained-float"),
    "boolean": ("bool",),
}
"""What an error calls the form of a union of which it is, by the form's type: our own words, and pydantic's."""


def _forms(node: Json) -> list[Json]:
    """Return the forms that a value may have, where there are several."""
    found = [each for each in (*node.get("oneOf", ()), *node.get("anyOf", ())) if each.get("type") != "null"]
    return found if len(found) > 1 and "discriminator" not in node else []


def _branch(node: Json, step: int | str) -> Json | None:
    """Return the form of a union that a step into an error's location names: a text, a list, or a named object."""
    label = str(step).partition("[")[0]
    for form in _forms(node):
        if "enum" in form or "const" in form:
            names: tuple[str, ...] = ("literal",)
        else:
            names = FORMS.get(form.get("type", ""), (form.get("$ref", "").rpartition("/")[2],))
        if label in names:
            return form
    return None


def _resolved(schema: Json, node: Json) -> Json:
    """Follow references, and the one branch of a union that is not null."""
    if "$ref" in node:
        target: Json = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return _resolved(schema, {**target, **{key: value for key, value in node.items() if key != "$ref"}})
    branches = [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]
    return _resolved(schema, branches[0]) if len(branches) == 1 else node


def _child(node: Json, step: int | str) -> Json:
    named = node.get("properties", {})
    found = node.get("items", {}) if isinstance(step, int) else named.get(step, node.get("additionalProperties", {}))
    return found if isinstance(found, dict) else {}


def _listed(names: Any) -> str:
    found = [name if isinstance(name, str) else json.dumps(name) for name in names]
    return f"one of {', '.join(found)}" if found else ""


def _described(node: Json) -> str:
    """Say in words what a schema allows; nothing where it says nothing."""
    if "forms" in node:
        return ", or ".join(dict.fromkeys(_form_words(form) for form in node["forms"]))
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
        "object": _described_object,
        "boolean": lambda _: "true or false",
    }
    return words[node["type"]](node) if node.get("type") in words else ""


def _form_words(form: Json) -> str:
    if "const" in form:
        return _listed([form["const"]]).removeprefix("one of ")
    if form.get("type") == "object":
        return f"an object of {', '.join(form['properties'])}" if form.get("properties") else "an object"
    return _described(form)


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


def _described_object(node: Json) -> str:
    least, most = node.get("minProperties", 0), node.get("maxProperties")
    if most is None:
        return "an object" if not least else f"an object of {least} or more fields"
    return f"an object of {least} to {most} fields"


def _described_string(node: Json) -> str:
    least, most, pattern = node.get("minLength", 0), node.get("maxLength"), node.get("pattern")
    words = "a string" + (f" of {least} to {most} characters" if most else "")
    return words + (f" {WORDS.get(pattern, f'that matches {pattern}')}" if pattern else "")


def _plain(error: Mapping[str, Any]) -> str:
    """Say a pattern as a schema of a body does; else drop pydantic's opening: "Input should be at most 3" becomes
    "at most 3"."""
    if (pattern := error.get("ctx", {}).get("pattern")) is not None:
        return f"a string {WORDS.get(pattern, f'that matches {pattern}')}"
    subject, _, words = error["msg"].partition(" should ")
    shortened = words.removeprefix("be ").removeprefix("have ")
    return shortened if subject in {"Input", "Value", "String"} else str(error["msg"])
