"""Which addresses the environment gives and which the stack makes itself, and how they reach its processes."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from cli.errors import StackError
from cli.stack import ports
from cli.stack.leftovers import MARK
from services.settings import Settings

POSTGRES_PORT = 54329
REDIS_PORT = 63790
MLFLOW_PORT = 5000
DEFAULT_PORTS = {"postgresql": 5432, "redis": 6379, "rediss": 6379, "http": 80, "https": 443}
TIMEOUT_SECONDS = 3.0


def require(name: str, variable: str, url: str) -> str:
    """Return the URL, or raise ``StackError`` naming it if nothing answers there."""
    if not answers(url):
        raise StackError(f"{name} does not answer at {without_password(url)}; hint: the address is set by {variable}")
    return url


def answers(url: str) -> bool:
    """Say whether something accepts connections at the URL's host and port; a socket path is taken as true."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname is None or port is None:
        return True
    return ports.answers(parts.hostname, port, TIMEOUT_SECONDS)


def without_password(url: str) -> str:
    """Return the URL as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@", 1)).geturl()


def environment(settings: Settings, home: Path, run: str, addresses: dict[str, str]) -> dict[str, str]:
    """Return the environment of the API and the worker: absolute paths, and every address.

    Args:
        settings: as given by the environment of `up`.
        home: absolute path of the home.
        run: id of the run, by which its processes are known.
        addresses: URL of ``database``, ``redis`` and ``mlflow``.
    """
    artifacts = settings.artifacts
    return {
        **os.environ,
        MARK: run,
        "TWOSTREAM_HOME": str(home),
        "TWOSTREAM_ARTIFACT_ROOT": artifacts if "://" in artifacts else str(Path(artifacts).resolve()),
        "TWOSTREAM_DATA_ROOT": str(settings.data.resolve()),
        "TWOSTREAM_WORK_ROOT": str(settings.work.resolve()),
        **{f"TWOSTREAM_{name.upper()}_URL": url for name, url in addresses.items()},
    }
