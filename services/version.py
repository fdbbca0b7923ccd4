"""Which code this process runs: the commit of its checkout, or else the version of the installed package."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGE = "twostream"
ROOT = Path(__file__).parents[1]
GIT_SECONDS = 10.0


@cache
def code_revision() -> str:
    """Return the code in words, as it was when this process first asked.

    Such as ``commit 829ed3e...``, ``commit 829ed3e..., with changes`` or ``version 0.1.0``.
    """
    return _commit(ROOT) or f"version {installed(PACKAGE) or 'unknown'}"


def installed(package: str) -> str | None:
    """Return the version of an installed package, which is not imported; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():  # a folder above may be another project's checkout
        return None
    described = ("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    # A container mounts checkouts of other users: the setting allows this one alone, and for this call alone.
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *described]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    commit, _, changed = found.partition("-")
    return f"commit {commit}, with changes" if changed else f"commit {commit}"
