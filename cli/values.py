"""Words of a command line as values, without pydantic where a word can be nothing else.

Typer reads every value by pydantic, whose loading takes as long as all else that a plain command does. A text is a
text without it, and a whole number in decimal digits is one. Whatever is not as plain goes to Typer, which reads it and
words the error.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

DECIMAL = re.compile(r"-?[0-9]{1,15}")
_NOTHING = object()


def read_plainly(command: Any) -> Any:
    """Have a command, and those below it, read plain values by themselves; return it."""
    typers_own = command.get_params

    def get_params(ctx: Any) -> list[Any]:
        found: list[Any] = typers_own(ctx)  # that of --help is made here
        for each in found:
            reads = getattr(each, "get_runtime_param", None)
            if reads is not None and not isinstance(reads, _Reader):
                each.get_runtime_param = _Reader(reads)
        return found

    command.get_params = get_params
    for each in getattr(command, "commands", {}).values():
        read_plainly(each)
    return command


class _Reader:
    """What a parameter reads its values by, in the place of Typer's own."""

    def __init__(self, typers_own: Any) -> None:
        self._typers_own = typers_own

    def __call__(self) -> _Reader:
        return self

    def coerce(self, value: Any, param: Any, ctx: typer.Context) -> Any:
        several = param.multiple or param.nargs == -1
        found = _plain(value, param.type_descriptor.annotation, param.type_descriptor.parameter_info, several)
        return self._typers_own().coerce(value, param=param, ctx=ctx) if found is _NOTHING else found


def _plain(value: Any, kind: Any, info: Any, several: bool) -> Any:
    if value is None:
        return () if several else None
    if info.parser is not None:
        return _NOTHING
    if get_origin(kind) is list and isinstance(value, list | tuple):
        [each_kind] = get_args(kind)
        found = [_one(each, each_kind, info) for each in value]
        return _NOTHING if _NOTHING in found else found
    return _NOTHING if several else _one(value, kind, info)


def _one(value: Any, kind: Any, info: Any) -> Any:
    if kind is str and isinstance(value, str):
        return value
    if kind is int and isinstance(value, int | str):
        return _whole(value, info)
    if kind is Path and isinstance(value, str | Path) and _any_path(info):
        path = Path(value)
        return path if not path.exists() or os.access(path, os.R_OK) else _NOTHING
    return _NOTHING


def _whole(value: int | str, info: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and not DECIMAL.fullmatch(value)):
        return _NOTHING
    number = int(value)
    within = (info.min is None or number >= info.min) and (info.max is None or number <= info.max)
    return number if within else _NOTHING


def _any_path(info: Any) -> bool:
    """Say whether nothing is asked of a path."""
    asked = (info.exists, info.writable, info.resolve_path, info.allow_dash, info.path_type is not None)
    return bool(info.file_okay and info.dir_okay and not any(asked))
