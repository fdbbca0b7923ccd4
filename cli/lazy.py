"""Commands that are known by name, and whose modules are loaded when they are wanted: most of a start was that.

``experiments = Module("experiments")`` stands for ``cli.commands.experiments``, and ``experiments.submit`` for its
function, in `Commands.command` and `Commands.add_typer` as the function itself would.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Self

import typer


class Module:
    """A module of `cli.commands`, which nobody has loaded yet."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Part:
        part = Part(f"cli.commands.{self._name}", name)
        setattr(self, name, part)  # the same one, whenever it is asked for
        return part


class Part:
    """A function of a module, or a group of commands, to which more can be added."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self.name = module, name
        self._more: list[tuple[tuple[Any, ...], Part]] = []

    def command(self, *arguments: Any) -> Callable[[Part], Part]:
        """Add a command to a group."""

        def add(part: Part) -> Part:
            self._more.append((arguments, part))
            return part

        return add

    def load(self) -> Any:
        """Return what it stands for."""
        found = getattr(import_module(self._module), self.name)
        while self._more:
            arguments, part = self._more.pop(0)
            found.command(*arguments)(part.load())
        return found


class Commands(typer.Typer):
    """An application whose commands and groups may be parts of modules that are not loaded."""

    _adding = False

    @property
    def registered_commands(self) -> list[Any]:
        """All commands, loaded."""
        for each in () if self._adding else self._commands:
            each.callback = _loaded(each.callback)
        return self._commands

    @registered_commands.setter
    def registered_commands(self, commands: list[Any]) -> None:
        self._commands = commands

    @property
    def registered_groups(self) -> list[Any]:
        """All groups, loaded."""
        for each in () if self._adding else self._groups:
            each.typer_instance = _loaded(each.typer_instance)
        return self._groups

    @registered_groups.setter
    def registered_groups(self, groups: list[Any]) -> None:
        self._groups = groups

    def command(self, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
        """Add a command, which may be a part."""
        decorate = super().command(*arguments, **options)

        def add(command: Any) -> Any:
            with self._unloaded():
                return decorate(command)

        return add

    def add_typer(self, typer_instance: Any, **options: Any) -> None:
        """Add a group, which may be a part."""
        with self._unloaded():
            super().add_typer(typer_instance, **options)

    @contextmanager
    def _unloaded(self) -> Iterator[None]:
        self._adding = True
        try:
            yield
        finally:
            self._adding = False

    def only(self, name: str) -> Self:
        """Return an application that has the one command or group of a name, and loads no other."""
        found = copy.copy(self)
        found._commands = [each for each in self._commands if (each.name or _name(each.callback)) == name]
        found._groups = [each for each in self._groups if each.name == name]
        return found

    @property
    def names(self) -> set[str]:
        """Names of all commands and groups."""
        return {each.name or _name(each.callback) for each in self._commands} | {each.name for each in self._groups}


def _loaded(part: Any) -> Any:
    return part.load() if isinstance(part, Part) else part


def _name(callback: Any) -> str:
    name: str = callback.name if isinstance(callback, Part) else callback.__name__
    return name.replace("_", "-")
