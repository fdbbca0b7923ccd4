"""Homes that PostgreSQL's system user can reach, and stacks as real processes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.stack.home import Home
from tests.cli.stacks import Up


@pytest.fixture
def home() -> Iterator[Home]:
    """An empty home. Not below pytest's own folder: that one is private, and as root PostgreSQL is another user."""
    folder = Path(tempfile.mkdtemp(prefix="twostream-home-"))
    yield Home(folder)
    shutil.rmtree(folder)


@pytest.fixture
def start(home: Home) -> Iterator[Callable[..., Up]]:
    """A function that starts a stack in this test's home; what still runs at the end is stopped."""
    started: list[Up] = []

    def run(*arguments: str, **environment: str) -> Up:
        started.append(Up(home, environment, arguments))
        return started[-1]

    yield run
    for up in started:
        if up.process.poll() is None:
            up.stop()
