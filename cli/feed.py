"""The server-sent events of an experiment, read in a thread of its own."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cli.errors import CommandError, Unreachable
from cli.transport import Transport

RECONNECT_SECONDS = 2.0


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    id: str | None
    type: str
    data: dict[str, Any]


class Feed(threading.Thread):
    """Puts the events of an experiment into a queue, and connects again where it left off.

    It only speeds up and adds to what polling finds, so that an API whose stream is away costs nothing but time.
    """

    def __init__(self, client: Transport, experiment: str, events: queue.SimpleQueue[Event]) -> None:
        super().__init__(name=f"feed-{experiment}", daemon=True)
        self._client, self._path, self._events = client, f"/experiments/{experiment}/events", events
        self._over = threading.Event()

    def run(self) -> None:
        """Read until the ``end`` event, or until the API says that there is no such stream."""
        last_event_id: str | None = None
        while not self._over.is_set():
            try:
                with self._client.stream(self._path, last_event_id) as response:
                    for event in parse(response.iter_lines()):
                        if event.type == "end" or self._over.is_set():
                            return
                        last_event_id = event.id or last_event_id
                        self._events.put(event)
            except Unreachable:
                pass
            except CommandError:
                return
            self._over.wait(RECONNECT_SECONDS)

    def stop(self) -> None:
        """Read no further."""
        self._over.set()


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events in the lines of a stream (WHATWG HTML, sec. 9.2.6); comments keep the connection open."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value
        elif not line and "data" in fields:
            yield Event(fields.get("id"), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}
