"""The layouts in which datasets come: how their lists are read, and where their clips lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from services.datasets.annotations import Annotations
from services.datasets.hmdb51 import read_hmdb51
from services.datasets.ucf101 import read_ucf101

Layout = Literal["ucf101", "hmdb51"]
"""Clips lie at ``<Class>/<clip>`` in both; the lists differ."""
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

_READERS: MappingProxyType[Layout, Callable[[Path], Annotations]] = MappingProxyType(
    {"ucf101": read_ucf101, "hmdb51": read_hmdb51}
)


def read_annotations(layout: Layout, folder: Path) -> Annotations:
    """Read the lists of a dataset.

    Raises:
        DataError: a list is missing, or a line of it is wrong; the message names file and line.
    """
    return _READERS[layout](folder)
