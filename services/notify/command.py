"""A program of the API's settings that gets a notice on its standard input."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from services.notify.webhook import Undelivered

SECONDS = 30.0
PASSED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR")
"""Variables that it gets: none with an address or a secret of ours."""


@dataclass(frozen=True)
class Command:
    """A program with its arguments; no shell takes them apart, and nothing of a request is among them.

    Attributes:
        arguments: the program first.
        seconds: that it may take, with all that it starts.
    """

    arguments: Sequence[str]
    seconds: float = SECONDS

    def send(self, id_: str, body: bytes) -> None:
        """Run it.

        Raises:
            Undelivered: it cannot be started, takes too long, or ends with another code than 0.
        """
        environment = {name: os.environ[name] for name in PASSED if name in os.environ}
        environment["TWOSTREAM_NOTICE"] = id_
        quiet = subprocess.DEVNULL
        try:
            process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.PIPE,
                stdout=quiet,
                stderr=quiet,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise Undelivered(f"{self.arguments[0]}: {error.strerror}") from error
        try:
            process.communicate(body, timeout=self.seconds)
        except subprocess.TimeoutExpired as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started
            process.wait()
            if process.stdin is not None:
                with suppress(OSError):  # there may be something left that nobody reads
                    process.stdin.close()
            raise Undelivered(f"{self.arguments[0]} has not ended within {self.seconds:g} s") from error
        if process.returncode != 0:
            raise Undelivered(f"{self.arguments[0]} ended with code {process.returncode}")
