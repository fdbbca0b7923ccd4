"""The project as its own files describe it: packages, lock file, and what a requirement brings along."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
PACKAGES = ("api", "cli", "models", "services", "worker")
API_PACKAGES = ("api", "cli", "services")
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|_AUTH$|_KEY$")
PIN = re.compile(r"[a-z]+:\d+\.\d+(\.\d+)?(-[a-z]+)*")


def locked_names() -> set[str]:
    return {canonicalize_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", LOCK, flags=re.MULTILINE)}


def closure(*requirements: str) -> set[str]:
    """Return the names of all distributions that requirements bring along on this platform."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    left = [Requirement(requirement) for requirement in requirements]
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        found.add(name)
        for extra in ("", *wanted.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                left += _needs(name, extra)
    return found


def _needs(name: str, extra: str) -> list[Requirement]:
    """Return what a distribution needs by itself or for an extra; of ours, what this checkout says."""
    if name == PROJECT["project"]["name"]:
        own = PROJECT["project"]
        return list(map(Requirement, own["optional-dependencies"][extra] if extra else own["dependencies"]))
    needs = map(Requirement, importlib.metadata.requires(name) or [])
    return [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
