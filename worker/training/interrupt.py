"""How a signal asks a training loop to stop; imports no torch, since every rank process imports it."""

from __future__ import annotations


class Interrupted(Exception):  # no error: the stage goes on from its checkpoint in another attempt
    """A training loop stopped because it was asked to, after it wrote a checkpoint."""


class Interrupt:
    """A flag that a signal handler raises and a training loop reads at every step."""

    def __init__(self) -> None:
        self._requested = False

    def request(self) -> None:
        """Ask the loop to write a checkpoint and stop; safe in a signal handler."""
        self._requested = True

    def clear(self) -> None:
        """Take the request back."""
        self._requested = False

    @property
    def requested(self) -> bool:
        """Whether the loop was asked to stop."""
        return self._requested


interrupt = Interrupt()
"""The flag of this process, since a signal reaches a process and no call: ``worker.rank.run`` raises it, ``finetune``
and ``train`` hand its reading to the loop."""
