"""Experiments in YAML or JSON files: what a person wrote is what runs, or it is refused by its line.

PyYAML reads YAML 1.1, in which `no` is false, 010 is eight, 12:30 is 750 and 1e-3 is a text; people, and JSON, mean
what YAML 1.2 says. Where the two differ a value is refused, but for numbers as JSON writes them. So is what would
change without a word: a field that stands twice, a merge key, a tag, a value that is missing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cli.errors import INVALID, CommandError

TAG = "tag:yaml.org,2002:"
MAX_NODES, MAX_DEPTH = 100_000, 32
"""Of a spec with its aliases written out; beyond any that a person writes, and far from what memory holds."""
PLAIN: tuple[tuple[str, str, str], ...] = (
    ("null", r"~|null|Null|NULL", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("octal", r"[-+]?0[0-9]+|0o[0-7]+", "-+0"),
)
"""What a value without quotes is beside a text (YAML 1.2, core schema): kind, pattern, first letters."""
NUMBER = "a decimal number without leading zeros, or a text in quotes"
UNREAD = yaml.reader.Reader.NON_PRINTABLE
"""What YAML refuses to read anywhere: control characters, and bytes that are no text."""
MEANT = {
    "null": "null, or a value",
    "bool": "true or false, or a text in quotes",
    "int": NUMBER,
    "octal": NUMBER,
    "float": "a finite decimal number, or a text in quotes",
    "timestamp": "a text in quotes; without them YAML takes it for a date",
    "merge": "fields; merge keys are not read, write the fields out",
}
VALUES: dict[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "bool": lambda word: word.lower() == "true",
    "int": int,
    "float": float,
    "str": str,
}


class _Loader(yaml.SafeLoader):
    """Resolves plain values as YAML 1.2 does."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's attribute


for _kind, _pattern, _first in PLAIN:
    _Loader.add_implicit_resolver(TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), list(_first))


def read_spec(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file; ``-`` is standard input.

    Raises:
        CommandError: the file is missing, is not YAML, holds no mapping, or a value that is not what it seems.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        return read_mapping(text, str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {getattr(error, 'strerror', None) or error}", INVALID) from error


def read_mapping(text: str, name: str) -> dict[str, Any]:
    """Return the mapping in a text.

    Args:
        text: YAML or JSON, one document.
        name: of the file, for messages.

    Raises:
        CommandError: as `read_spec`.
    """
    content = _read(text, name)[0]
    if not isinstance(content, dict):
        raise CommandError(f"{name}: got {type(content).__name__}, allowed: a mapping of fields", INVALID)
    return content


def read_value(text: str, name: str) -> Any:
    """Return the value in a text.

    Args:
        text: YAML or JSON, as it would stand behind a field's name.
        name: of the field, for messages.

    Raises:
        CommandError: as `read_spec`, or a part of the text is no part of the value.
    """
    content, node = _read(f"value: {text}", name)
    read = node.value[0][1].end_mark.index - len("value: ") if [*content] == ["value"] else 0
    if text[read:].strip():  # a comment, or another field below
        raise CommandError(f"{name}: got {text!r}, allowed: one value; put a text in quotes", INVALID)
    return content["value"]


def _read(text: str, name: str) -> tuple[Any, Any]:
    """Return what is in a text, and the node of YAML that it was made of."""
    unread = UNREAD.search(text)
    if unread is not None:
        line = text.count("\n", 0, unread.start()) + 1
        allowed = "text in UTF-8 without control characters"
        raise CommandError(f"{name}: line {line}: got {unread[0]!r}, allowed: {allowed}", INVALID)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _Reader(name, loader).value(node, ()), node
    except yaml.YAMLError as error:
        raise CommandError(f"{name}: not YAML: {' '.join(str(error).split())}", INVALID) from error
    except RecursionError as error:
        raise CommandError(f"{name}: got more levels than can be read, allowed: {MAX_DEPTH}", INVALID) from error
    finally:
        loader.dispose()


_KINDS: dict[type[yaml.Node], str] = {yaml.MappingNode: "mapping", yaml.SequenceNode: "sequence"}


class _Reader:
    """Makes values of PyYAML's nodes, which know their lines."""

    def __init__(self, name: str, loader: _Loader) -> None:
        self._name, self._loader, self._nodes = name, loader, 0
        self._pyyaml = yaml.SafeLoader("")

    def value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        """Return a node's value."""
        self._nodes += 1
        if len(path) > MAX_DEPTH or self._nodes > MAX_NODES:
            raise self._refused(node, path, "so much", f"{MAX_DEPTH} levels and {MAX_NODES} values, aliases counted")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._require_tag(node, path, "seq")
            return [self.value(item, (*path, str(place))) for place, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        self._require_tag(node, path, "map")
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, item in node.value:
            field = self._field(key, path)
            if field in found:
                first = f"it stands in line {lines[field]} too"
                raise self._refused(key, (*path, field), "a second value", f"each field once; {first}")
            lines[field] = key.start_mark.line + 1
            found[field] = self.value(item, (*path, field))
        return found

    def _field(self, key: yaml.Node, path: tuple[str, ...]) -> str:
        if not isinstance(key, yaml.ScalarNode):
            raise self._refused(key, path, f"a {_KINDS[type(key)]} for a field's name", "text")
        field = self._scalar(key, path)
        if not isinstance(field, str):
            raise self._refused(key, path, f"{key.value!r} for a field's name", "text; put it in quotes")
        return field

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Any:
        if node.style is not None:  # in quotes, or a block
            self._require_tag(node, path, "str")
            return _joined(node.value)
        kind, by_pyyaml = (self._kind(loader, node) for loader in (self._loader, self._pyyaml))
        self._require_tag(node, path, kind)
        if kind not in (by_pyyaml, "float"):
            allowed = MEANT.get(by_pyyaml if kind == "str" else kind, "a text in quotes")
            raise self._refused(node, path, node.value or "nothing", allowed)
        return VALUES[kind](node.value)

    def _kind(self, loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
        tag: str = loader.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        return tag.removeprefix(TAG)

    def _require_tag(self, node: yaml.Node, path: tuple[str, ...], kind: str) -> None:
        """Refuse a tag that is written out."""
        if node.tag != TAG + kind:
            raise self._refused(node, path, f"the tag {node.tag}", "values without tags; put a text in quotes")

    def _refused(self, node: yaml.Node, path: tuple[str, ...], given: str, allowed: str) -> CommandError:
        place = f"line {node.start_mark.line + 1}: {'.'.join(path) or 'the file'}"
        return CommandError(f"{self._name}: {place}: got {given}, allowed: {allowed}", INVALID)


def _joined(text: str) -> str:
    """Return a text in which JSON's escapes of the halves of a letter are that letter."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
