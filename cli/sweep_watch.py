"""A sweep, looked at until it has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cli.errors import CommandError, Unreachable
from cli.names import sweep_id_of
from cli.transport import Transport, seconds

if TYPE_CHECKING:
    from cli.answers import SweepDetail

LIVE = ("running", "finishing", "cancelling")
POLL_SECONDS = 2.0
"""Between two looks."""
PATIENCE_SECONDS = 60.0
"""How long an API that went away is waited for."""


class SweepWatch:
    """Looks at one sweep.

    Args:
        client: the API.
        sweep: its id, or the beginning of it.
        timeout: seconds; None for no end but that of the sweep.
    """

    def __init__(self, client: Transport, sweep: str, timeout: float | None = None) -> None:
        self._client, self._timeout, self._began_at = client, seconds(timeout), time.monotonic()
        self._id = sweep_id_of(client, sweep)
        self._answered_at = time.monotonic()

    def look(self) -> SweepDetail | None:
        """Return it as it is now; None while the API is away.

        Raises:
            CommandError: the API stayed away for a minute.
        """
        try:
            found: SweepDetail = self._client.get(f"/sweeps/{self._id}")
            self._answered_at = time.monotonic()
        except Unreachable:
            if time.monotonic() - self._answered_at > PATIENCE_SECONDS:
                raise
            return None
        return found

    def require_time(self) -> None:
        """Check that time is left.

        Raises:
            CommandError: ``timeout`` seconds are over; the sweep goes on.
        """
        if self._timeout is not None and time.monotonic() - self._began_at >= self._timeout:
            raise CommandError(f"{self._id}: not ended after {self._timeout:g} s; hint: it goes on, wait for longer")
