"""The API for programs and notebooks, and for the commands: `from cli import Client`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from cli.errors import CONFLICT, FAILURE, INTERRUPTED, INVALID, NOT_FOUND, OK, CommandError, Unreachable
from cli.names import id_of
from cli.transport import Transport

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

Json = dict[str, Any]
Told = Callable[[Json, Sequence[Json]], None]
"""Takes an experiment and its stages whenever they were looked at."""


class Rows(list[Json]):
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

    def submit(self, spec: Mapping[str, Any] | str | Path, *, idempotency_key: str | None = None) -> Json:
        """Submit an experiment and return it, with its `id`.

        Args:
            spec: its fields, or a file of YAML or JSON.
            idempotency_key: the same key submits once, however often it is sent.
        """
        from cli.spec_file import read_spec

        body = dict(spec) if isinstance(spec, Mapping) else read_spec(Path(spec))
        submitted: Json = self.post("/experiments", body, idempotency_key=idempotency_key)
        return submitted

    def experiment(self, experiment: str) -> Json:
        """Return an experiment with its state, its progress and its whole `spec`."""
        found: Json = self.get(f"/experiments/{id_of(self, experiment)}")
        return found

    def wait(
        self, experiment: str, progress: Told | None = None, *, show: bool = False, timeout: float | None = None
    ) -> Json:
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

        display = None if show else Calls(progress)
        [ended] = Watch(self, [self.experiment(experiment)["id"]], display=display, timeout=timeout).run()
        return ended

    def results(self, experiment: str) -> Rows:
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
        theme: str = "light",
        form: Literal["svg", "png"] = "svg",
    ) -> bytes:
        """Return a picture, such as `learning` or `confusion`, of all splits and seeds that are not named."""
        given = {"stream": stream, "split": split, "seed": seed, "theme": theme}
        over = None if baseline is None else id_of(self, baseline)
        return self.content(f"/experiments/{id_of(self, experiment)}/figures/{name}.{form}", **given, baseline=over)

    def leaderboard(self, dataset: str, **options: str | int | None) -> Json:
        """Return a page of a leaderboard, whose `rows` have `to_frame`.

        Args:
            dataset: its name.
            options: as `GET /leaderboard` has them: `split`, `stream`, `metric`, `limit`, `cursor` and so on.
        """
        board: Json = self.get("/leaderboard", dataset=dataset, **options)
        return board | {"rows": Rows(board["rows"])}
