"""Saves a state folder beside the supervision: an upload of gigabytes holds up no event, no cancel, no shutdown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from services.errors import Unavailable


class Saver:
    """Runs one save at a time, each in a thread of its own; what is asked for meanwhile becomes one more.

    Args:
        save: brings to the store what is new, and stops early when its argument is set.

    Attributes:
        failing: whether the store did not take what was saved last.
    """

    def __init__(self, save: Callable[[threading.Event], None]) -> None:
        self._save = save
        self._stop = threading.Event()
        self._wanted = False
        self._running: Future[None] | None = None
        self.failing = False

    @property
    def idle(self) -> bool:
        """Whether all that was asked for is saved or given up."""
        running = self._running
        return not self._wanted and (running is None or (running.done() and running.exception() is None))

    def request(self) -> None:
        """Ask for a save; the next `poll` that finds none running begins it."""
        self._wanted = not self._stop.is_set()

    def give_up(self) -> None:
        """Have a running save stop early, and begin no other."""
        self._stop.set()
        self._wanted = False

    def poll(self) -> None:
        """Begin a save if one is wanted and none runs; return at once.

        Raises:
            Unavailable: the last one failed; it is wanted again.
        """
        if self._running is not None:
            if not self._running.done():
                return
            ended, self._running = self._running, None
            self.failing = ended.exception() is not None
            try:
                ended.result()
            except Unavailable:
                self.request()
                raise
        if self._wanted:
            self._wanted, self._running = False, Future()
            threading.Thread(target=self._run, args=(self._running,), name="saver", daemon=True).start()

    def _run(self, ended: Future[None]) -> None:
        try:
            self._save(self._stop)
        except Exception as error:  # raised again by whoever polls
            ended.set_exception(error)
        else:
            ended.set_result(None)
