"""Has a process run the stages of a test: Python imports this as it starts, where this folder is on its path.

``PYTHON_STAGES``, which the worker passes on as it does all of Python's variables, says as JSON which module of the
path stands for each kind of stage. The other kinds do nothing, and import at once.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class EmptyLoader(Loader):
    """Loads a module that is empty."""

    def exec_module(self, module: ModuleType) -> None:
        pass


class StageFinder(MetaPathFinder):
    """Finds a test's module where a stage's is asked for."""

    def __init__(self, stages: Mapping[str, str]) -> None:
        self._stages = stages

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        package, _, kind = fullname.rpartition(".")
        if package != "worker.stages":
            return None
        if kind not in self._stages:
            return ModuleSpec(fullname, EmptyLoader())
        found = importlib.util.find_spec(self._stages[kind])
        if found is None:
            raise ModuleNotFoundError(f"No module named {self._stages[kind]!r}")
        return importlib.util.spec_from_file_location(fullname, found.origin)


if "PYTHON_STAGES" in os.environ:
    sys.meta_path.insert(0, StageFinder(json.loads(os.environ["PYTHON_STAGES"])))
