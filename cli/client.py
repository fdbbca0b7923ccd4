"""The API for programs and notebooks, and for the commands: `from cli import Client`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from cli.errors import CONFLICT, FAILURE, INTERRUPTED, INVALID, NOT_FOUND, OK, CommandError, Unreachable
from cli.names import id_of, sweep_id_of
from cli.transport import Transport, step

if TYPE_CHECKING:
    from cli.answers import (
        Board,
        Experiment,
        ExperimentDetail,
        Result,
        Stage,
        Sweep,
        SweepDetail,
        SweepDryRun,
        SweepTrial,
    )

__all__ = (
    "CONFLICT",
    "FAILURE",
    "INTERRUPTED",
    "INVALID",
    "NOT_FOUND",
    "OK",
    "Client",
    "CommandError",
    "Rows",
    "Unreachable",
)

Told = Callable[["Experiment", Sequence["Stage"]], None]
"""Takes an experiment and its stages whenever they were looked at."""
ToldSweep = Callable[["SweepDetail"], None]
"""Takes a sweep whenever it was looked at."""

Row = TypeVar("Row")


class Rows(list[Row]):
    """Rows of an answer, each a mapping."""

    def to_frame(self) -> Any:
        """Return a `pandas.DataFrame`: a column a field, those of nested ones with dots (`metrics.top1.value`).

        Raises:
            CommandError: pandas is not installed.
        """
        try:
            pandas: Any = import_module("pandas")
        except ModuleNotFoundError as error:
            raise CommandError("to_frame needs pandas; hint: pip install pandas") from error
        return pandas.json_normalize(list(self))


class Client(Transport):
    """An API. Where a method takes an experiment, its id will do, the beginning of one, or its name.

    A context manager, or closed by `close`. All that goes wrong is a `CommandError`, whose `problem` is the API's.
    """

    def submit(self, spec: Mapping[str, Any] | str | Path, *, idempotency_key: str | None = None) -> Experiment:
        """Submit an experiment and return it, with its `id`.

        Args:
            spec: its fields, or a file of YAML or JSON.
            idempotency_key: the same key submits once, however often it is sent.
        """
        submitted: Experiment = self.post("/experiments", _body(spec), idempotency_key=idempotency_key)
        return submitted

    def experiment(self, experiment: str) -> ExperimentDetail:
        """Return an experiment with its state, its progress and its whole `spec`."""
        found: ExperimentDetail = self.get(f"/experiments/{id_of(self, experiment)}")
        return found

    def wait(
        self, experiment: str, progress: Told | None = None, *, show: bool = False, timeout: float | None = None
    ) -> ExperimentDetail:
        """Stay until an experiment has finished, and return it; whether it succeeded, its `state` says.

        Args:
            experiment: that was submitted.
            progress: called with the experiment and its stages whenever something may have changed.
            show: bars on a terminal, and lines elsewhere.
            timeout: seconds; without it a stay ends with the experiment, or with an API that is away for a minute.

        Raises:
            CommandError: the time is over; the experiment goes on.
        """
        from cli.watch import Told as Calls
        from cli.watch import Watch

        display = None if show else Calls(cast("Any", progress))
        [ended] = Watch(self, [self.experiment(experiment)["id"]], display=display, timeout=timeout).run()
        return cast("ExperimentDetail", ended)

    def results(self, experiment: str) -> Rows[Result]:
        """Return what an experiment reached by stream, split and seed, and the means; `to_frame` for pandas."""
        return Rows(self.get(f"/experiments/{id_of(self, experiment)}/results"))

    def figure(
        self,
        experiment: str,
        name: str,
        *,
        stream: str | None = None,
        split: int | None = None,
        seed: int | None = None,
        baseline: str | None = None,
        clip: str | None = None,
        theme: str = "light",
        form: Literal["svg", "png", "webp"] = "svg",
    ) -> bytes:
        """Return a picture, such as `learning` or `confusion`, of all splits and seeds that are not named.

        `attention`, `memory`, `tubes` and `flow` are of one test clip, and `attention` is there as a film: `webp`.
        """
        given = {"stream": stream, "split": split, "seed": seed, "clip": clip, "theme": theme}
        over = None if baseline is None else id_of(self, baseline)
        path = f"/experiments/{id_of(self, experiment)}/figures/{step(name)}.{form}"
        return self.content(path, **given, baseline=over)

    @overload
    def sweep(
        self,
        spec: Mapping[str, Any] | str | Path,
        *,
        idempotency_key: str | None = None,
        dry_run: Literal[False] = False,
    ) -> Sweep: ...

    @overload
    def sweep(
        self, spec: Mapping[str, Any] | str | Path, *, idempotency_key: str | None = None, dry_run: Literal[True]
    ) -> SweepDryRun: ...

    def sweep(
        self, spec: Mapping[str, Any] | str | Path, *, idempotency_key: str | None = None, dry_run: bool = False
    ) -> Sweep | SweepDryRun:
        """Begin a sweep and return it, with its `id`; with `dry_run` what it would do, and nothing is begun.

        Args:
            spec: its fields, or a file of YAML or JSON.
            idempotency_key: the same key begins one, however often it is sent.
            dry_run: answers with trials, stages, what is shared, and what all of it may take.
        """
        path = "/sweeps?dry_run=true" if dry_run else "/sweeps"
        answer: Sweep | SweepDryRun = self.post(path, _body(spec), idempotency_key=idempotency_key, patient=True)
        return answer

    def trials(self, sweep: str) -> Rows[SweepTrial]:
        """Return the trials of a sweep by number, whose id is given or its beginning; `to_frame` for pandas."""
        return Rows(self.get(f"/sweeps/{sweep_id_of(self, sweep)}/trials"))

    def wait_for_sweep(
        self, sweep: str, progress: ToldSweep | None = None, *, timeout: float | None = None
    ) -> SweepDetail:
        """Stay until a sweep has ended, and return it; whether it succeeded, its `state` says.

        Args:
            sweep: its id, or the beginning of it.
            progress: called with the sweep after every look.
            timeout: seconds; without it a stay ends with the sweep, or with an API that is away for a minute.

        Raises:
            CommandError: the time is over; the sweep goes on.
        """
        from cli.sweep_watch import LIVE, POLL_SECONDS, SweepWatch

        watch = SweepWatch(self, sweep, timeout)
        while True:
            found = watch.look()
            if found is not None:
                found["results"] = Rows(found["results"])
                if progress is not None:
                    progress(found)
                if found["state"] not in LIVE:
                    return found
            watch.require_time()
            time.sleep(POLL_SECONDS)  # a sweep has no stream of events

    def leaderboard(self, dataset: str, **options: str | int | None) -> Board:
        """Return a page of a leaderboard, whose `rows` have `to_frame`.

        Args:
            dataset: its name.
            options: as `GET /leaderboard` has them: `split`, `stream`, `metric`, `limit`, `cursor` and so on.
        """
        board: Board = self.get("/leaderboard", dataset=dataset, **options)
        board["rows"] = Rows(board["rows"])
        return board


def _body(spec: Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """Return what is submitted: fields, or those of a file."""
    from cli.spec_file import read_spec

    return dict(spec) if isinstance(spec, Mapping) else read_spec(Path(spec))
