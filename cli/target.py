"""Which API a command talks to. Reads the environment itself, since loading all settings would double its start."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import Unreachable

if TYPE_CHECKING:
    from cli.stack.home import Home

DEFAULT_HOME = "~/.twostream"


@dataclass(frozen=True)
class Target:
    """An API.

    Attributes:
        url: its base URL, without a slash at the end.
        token: bearer token, if it wants one.
    """

    url: str
    token: str | None = None

    @classmethod
    def from_environment(cls) -> Target:
        """Return the API that ``TWOSTREAM_API_URL`` names, else the stack's that is up in the home.

        Raises:
            Unreachable: there is neither; whoever listens on the usual port is nobody we know.
        """
        token = os.environ.get("TWOSTREAM_API_TOKEN") or None
        url = os.environ.get("TWOSTREAM_API_URL") or stack_addresses().get("api")
        if url is None:
            raise Unreachable(
                f"no stack is up in {home().path}; "
                "hint: `twostream up` starts one, TWOSTREAM_HOME or TWOSTREAM_API_URL names one elsewhere"
            )
        return cls(url.rstrip("/"), token)


def home() -> Home:
    """Return the folder of the embedded stack."""
    from cli.stack.home import Home

    return Home(Path(os.environ.get("TWOSTREAM_HOME") or DEFAULT_HOME).expanduser().resolve())


def stack_addresses() -> dict[str, str]:
    """Return the addresses of the stack that is up in the home; nothing when none is."""
    place = home()
    state = place.read_state() if place.is_up() else None
    return {} if state is None else state.addresses
