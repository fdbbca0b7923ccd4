"""Progress of experiments until they have finished: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli.errors import CommandError, Unreachable
from cli.feed import Event, Feed
from cli.output import about, stages_done
from cli.terminal import one_line
from cli.transport import Transport, seconds
from services.words import counted

FINISHED = frozenset({"succeeded", "failed", "cancelled"})
REFRESH_SECONDS = 0.5
"""At least between two looks at the API: events come in bursts, and one look shows what all of a burst changed."""
POLL_SECONDS = 2.0
"""At most between two looks, for an API whose events do not reach us."""
PATIENCE_SECONDS = 60.0
"""How long an API that went away is waited for."""
FEED_SECONDS = 3.0
"""How long the end of an experiment may take to reach its feed."""
STEP = 0.25
"""Part of a stage after which a plain log gets its next line."""
TOLD = {"stage.retried": "is tried again", "stage.warning": "warns"}
Json = dict[str, Any]
Seen = tuple[Json, list[Json]]
"""An experiment and its stages."""


class Display(Protocol):
    """Shows what changed."""

    def update(self, experiment: Json, stages: Sequence[Json]) -> None:
        """Show the present state of one experiment."""

    def say(self, line: str) -> None:
        """Show one line that stays."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Watch:
    """Follows experiments by their events, and by polling where events do not come.

    Args:
        client: the API.
        experiments: ids.
        quiet: shows nothing on standard output.
        display: in place of bars or lines.
    """

    def __init__(
        self,
        client: Transport,
        experiments: Sequence[str],
        *,
        quiet: bool = False,
        display: Display | None = None,
        timeout: float | None = None,
    ) -> None:
        self._client, self._ids = client, experiments
        self._timeout, self._began_at = seconds(timeout), time.monotonic()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        stream = sys.stderr if quiet else sys.stdout
        if display is None:
            display = Bars(Console(file=stream)) if stream.isatty() else Lines(Console(file=stream, width=200))
        self._display = display
        self._names: dict[str, str] = {}
        self._answered_at = time.monotonic()

    def run(self) -> list[Json]:
        """Stay until every experiment has finished, and return them.

        Raises:
            CommandError: an experiment is unknown, the API stayed away for a minute, or ``timeout`` seconds are over.
        """
        feeds = [Feed(self._client, experiment, self._events) for experiment in self._ids]
        for feed in feeds:
            feed.start()
        try:
            found = self._follow()
            for feed in feeds:
                feed.join(FEED_SECONDS)
            return found
        finally:
            for feed in feeds:
                feed.stop()
            self.close()

    def _follow(self) -> list[Json]:
        while True:
            found = [experiment for experiment, _ in self.look()]
            if found and all(experiment["state"] in FINISHED for experiment in found):
                return found
            self.require_time()
            self._wait()

    def require_time(self) -> None:
        """Check that time is left.

        Raises:
            CommandError: ``timeout`` seconds are over.
        """
        if self._timeout is not None and time.monotonic() - self._began_at >= self._timeout:
            ids = ", ".join(self._ids)
            raise CommandError(f"{ids}: not finished after {self._timeout:g} s; hint: it goes on, wait for longer")

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._display.close()

    def look(self) -> list[Seen]:
        """Show the present state of all and return it; nothing while the API is away.

        Raises:
            CommandError: an experiment is unknown, or the API stayed away for a minute.
        """
        try:
            return [self._look_at(experiment) for experiment in self._ids]
        except Unreachable:
            if time.monotonic() - self._answered_at > PATIENCE_SECONDS:
                raise
            return []

    def _look_at(self, experiment: str) -> Seen:
        found: Json = self._client.get(f"/experiments/{experiment}")
        stages: list[Json] = self._client.get(f"/experiments/{experiment}/stages")
        self._answered_at = time.monotonic()
        self._names |= {stage["key"]: stage["name"] for stage in stages}
        self._display.update(found, stages)
        return found, stages

    def _wait(self) -> None:
        """Wait for the next event, or for the next poll; tell what only events know."""
        time.sleep(REFRESH_SECONDS)
        try:
            event = self._events.get(timeout=POLL_SECONDS - REFRESH_SECONDS)
            while True:
                self._tell(event)
                event = self._events.get_nowait()
        except queue.Empty:
            return

    def _tell(self, event: Event) -> None:
        if event.type not in TOLD:
            return
        details, key = event.data.get("data", {}), str(event.data.get("stage_key"))
        words = [str(details[name]) for name in ("cause", "message") if details.get(name)]
        self._display.say(f"{self._names.get(key, key)} {TOLD[event.type]}: {': '.join(words)}")


class Told:
    """Nothing to see: a function gets what changed, if there is one."""

    def __init__(self, told: Callable[[Json, Sequence[Json]], None] | None) -> None:
        self._told = told

    def update(self, experiment: Json, stages: Sequence[Json]) -> None:
        """Hand on the present state."""
        if self._told is not None:
            self._told(experiment, stages)

    def say(self, line: str) -> None:
        """Nothing: the stages say it too."""

    def close(self) -> None:
        """Nothing to put back."""


class Lines:
    """Plain lines: what changed its state, or came a quarter further. A stage that experiments share is told once."""

    def __init__(self, console: Console) -> None:
        self._console, self._seen = console, dict[str, object]()

    def update(self, experiment: Json, stages: Sequence[Json]) -> None:
        """Print what changed since the last time."""
        name = f"{experiment['name']} ({experiment['id']})"
        if experiment["id"] not in self._seen:
            self._say_once(experiment["id"], "submitted", f"{name}: {plan(experiment, stages)}")
        for stage in stages:
            if stage["state"] == "running":
                quarter = int(fraction(stage) / STEP)
                self._say_once(stage["key"], ("running", stage["attempt"], quarter), f"{stage['name']}: {words(stage)}")
            elif stage["state"] in FINISHED and not finished_before(stage, experiment):
                self._say_once(stage["key"], stage["state"], f"{stage['name']}: {ending(stage)}")
        if experiment["state"] != "queued":
            self._say_once(experiment["id"], experiment["state"], f"{name}: {ending(experiment)}")

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(one_line(line), markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Nothing to put back."""

    def _say_once(self, key: str, what: object, line: str) -> None:
        if self._seen.get(key) != what:
            self._seen[key] = what
            self.say(line)


class Bars:
    """One bar for each experiment and, below, one for each stage that runs."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
        )
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console)
        self._bars: dict[str, TaskID] = {}
        self._told: set[str] = set()
        self._progress.start()

    def update(self, experiment: Json, stages: Sequence[Json]) -> None:
        """Move the bars; leave a line for the plan, for each failure and for the end."""
        name = f"{experiment['name']} ({experiment['id']})"
        self._say_once(f"{name}: {plan(experiment, stages)}", key=experiment["id"])
        title = f"{experiment['name']}, {experiment['state']}"
        self._move(
            experiment["id"],
            title,
            stages_done(experiment),
            experiment["progress"]["total"],
            f"stages{left(experiment)}",
        )
        for stage in stages:
            if stage["state"] == "running":
                progress = stage["progress"] or {"done": 0, "total": None, "unit": "", "message": ""}
                unit = f"{progress['unit']} {progress['message']}".strip() + left(stage)
                self._move(stage["key"], f"  {stage['name']}", progress["done"], progress["total"], unit)
            elif stage["key"] in self._bars:
                self._progress.remove_task(self._bars.pop(stage["key"]))
            if stage["state"] == "failed":
                self._say_once(f"{stage['name']}: {ending(stage)}", key=stage["key"])
        if experiment["state"] in FINISHED:
            self._say_once(f"{name}: {ending(experiment)}", key=f"{experiment['id']} finished")

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(one_line(line), markup=False, highlight=False)

    def close(self) -> None:
        """Leave the bars as they are and give the terminal back."""
        self._progress.stop()

    def _say_once(self, line: str, *, key: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self.say(line)

    def _move(self, key: str, title: str, done: int, total: int | None, unit: str) -> None:
        title, unit = one_line(title), one_line(unit)
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(title, total=total, unit=unit)
        self._progress.update(self._bars[key], description=title, completed=done, total=total, unit=unit)


def plan(experiment: Json, stages: Sequence[Json]) -> str:
    """Word the size of an experiment, and what of it was there before."""
    finished = sum(finished_before(stage, experiment) for stage in stages)
    shared = f", {experiment['reused']} shared with earlier experiments" if experiment["reused"] else ""
    return f"{counted(len(stages), 'stage')}{shared}" + (f", {finished} finished before" if finished else "")


def finished_before(stage: Json, experiment: Json) -> bool:
    """Say whether a stage had finished when the experiment was submitted."""
    ended = stage["finished_at"]
    return ended is not None and datetime.fromisoformat(ended) < datetime.fromisoformat(experiment["created_at"])


def fraction(stage: Json) -> float:
    """Return how much of a stage is done, from 0 to 1."""
    progress = stage["progress"]
    return progress["done"] / progress["total"] if progress and progress["total"] else 0.0


def words(stage: Json) -> str:
    """Word the progress of a running stage."""
    progress = stage["progress"]
    if not progress:
        return f"running, attempt {stage['attempt']}" if stage["attempt"] > 1 else "running"
    message = f", {progress['message']}" if progress["message"] else ""
    return f"{progress['done']}/{progress['total']} {progress['unit']}{message}{left(stage)}"


def left(subject: Json) -> str:
    """Word how long a stage or an experiment may still take; nothing where nobody knows."""
    seconds = subject.get("time_left_seconds")
    return f", {about(seconds)} left" if seconds else ""


def ending(subject: Json) -> str:
    """Word the state of a stage or an experiment, with cause and message where there are some."""
    reasons = [subject[name] for name in ("cause", "message") if subject.get(name)]
    return ": ".join([subject["state"], *reasons])
