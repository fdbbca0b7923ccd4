"""The API for programs with an event loop, notebooks among them: `from cli import AsyncClient`.

Each call waits on a thread of its own, so that the loop goes on: what is asked, and what goes wrong, is as `Client` has
it, in one place.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast, overload

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
from cli.client import Client, Rows

Told = Callable[[Experiment, Sequence[Stage]], Awaitable[None] | None]
"""Takes an experiment and its stages whenever they were looked at; it may be a coroutine function."""
ToldSweep = Callable[[SweepDetail], Awaitable[None] | None]
"""Takes a sweep whenever it was looked at; likewise."""
Seen = tuple[ExperimentDetail, list[Stage]]
POLL_SECONDS = 1.0


class AsyncClient:
    """An API, as `cli.client.Client` in every word, with methods to await.

    An asynchronous context manager, or closed by `close`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    def connect(cls, url: str | None = None, token: str | None = None, *, timeout: float | None = None) -> Self:
        """Return a client of an API, see `Client.connect`; it connects when it first asks."""
        return cls(Client.connect(url, token, timeout=timeout))

    @property
    def url(self) -> str:
        """The API's address."""
        return self._client.url

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def submit(self, spec: Mapping[str, Any] | str | Path, *, idempotency_key: str | None = None) -> Experiment:
        """Submit an experiment and return it, see `Client.submit`."""
        return await asyncio.to_thread(self._client.submit, spec, idempotency_key=idempotency_key)

    async def experiment(self, experiment: str) -> ExperimentDetail:
        """Return an experiment with its state, its progress and its whole `spec`."""
        return await asyncio.to_thread(self._client.experiment, experiment)

    async def wait(
        self, experiment: str, progress: Told | None = None, *, show: bool = False, timeout: float | None = None
    ) -> ExperimentDetail:
        """Await the end of an experiment, and return it; whether it succeeded, its `state` says.

        Args:
            experiment: that was submitted.
            progress: called, in this loop, with the experiment and its stages after every look.
            show: bars on a terminal, and lines elsewhere.
            timeout: seconds.

        Raises:
            CommandError: the time is over; the experiment goes on.
        """
        from cli.watch import FINISHED, Watch
        from cli.watch import Told as Silent

        display = None if show else Silent(None)
        watch = Watch(self._client, [(await self.experiment(experiment))["id"]], display=display, timeout=timeout)
        try:
            while True:
                for found, stages in cast("list[Seen]", await asyncio.to_thread(watch.look)):
                    if progress is not None:
                        told = progress(found, stages)
                        if inspect.isawaitable(told):
                            await told
                    if found["state"] in FINISHED:
                        return found
                watch.require_time()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            watch.close()

    async def results(self, experiment: str) -> Rows[Result]:
        """Return what an experiment reached by stream, split and seed, and the means; `to_frame` for pandas."""
        return await asyncio.to_thread(self._client.results, experiment)

    async def figure(
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
        """Return a picture, see `Client.figure`."""
        return await asyncio.to_thread(
            self._client.figure, experiment, name, stream=stream, split=split, seed=seed, baseline=baseline,
            clip=clip, theme=theme, form=form,
        )  # fmt: skip

    @overload
    async def sweep(
        self,
        spec: Mapping[str, Any] | str | Path,
        *,
        idempotency_key: str | None = None,
        dry_run: Literal[False] = False,
    ) -> Sweep: ...

    @overload
    async def sweep(
        self, spec: Mapping[str, Any] | str | Path, *, idempotency_key: str | None = None, dry_run: Literal[True]
    ) -> SweepDryRun: ...

    async def sweep(
        self, spec: Mapping[str, Any] | str | Path, *, idempotency_key: str | None = None, dry_run: bool = False
    ) -> Sweep | SweepDryRun:
        """Begin a sweep and return it, or what it would do; see `Client.sweep`."""
        call: Any = self._client.sweep
        answer: Sweep | SweepDryRun = await asyncio.to_thread(
            call, spec, idempotency_key=idempotency_key, dry_run=dry_run
        )
        return answer

    async def trials(self, sweep: str) -> Rows[SweepTrial]:
        """Return the trials of a sweep by number; `to_frame` for pandas."""
        return await asyncio.to_thread(self._client.trials, sweep)

    async def wait_for_sweep(
        self, sweep: str, progress: ToldSweep | None = None, *, timeout: float | None = None
    ) -> SweepDetail:
        """Await the end of a sweep, and return it, see `Client.wait_for_sweep`; `progress` is called in this loop.

        Raises:
            CommandError: the time is over; the sweep goes on.
        """
        from cli.sweep_watch import LIVE, POLL_SECONDS, SweepWatch

        watch = await asyncio.to_thread(SweepWatch, self._client, sweep, timeout)
        while True:
            found = await asyncio.to_thread(watch.look)
            if found is not None:
                found["results"] = Rows(found["results"])
                told = None if progress is None else progress(found)
                if inspect.isawaitable(told):
                    await told
                if found["state"] not in LIVE:
                    return found
            watch.require_time()
            await asyncio.sleep(POLL_SECONDS)

    async def leaderboard(self, dataset: str, **options: str | int | None) -> Board:
        """Return a page of a leaderboard, whose `rows` have `to_frame`; see `Client.leaderboard`."""
        return await asyncio.to_thread(self._client.leaderboard, dataset, **options)

    async def get(self, path: str, **query: str | int | None) -> Any:
        """Return the JSON at a path; query fields that are None are left out."""
        return await asyncio.to_thread(self._client.get, path, **query)

    async def post(
        self,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        patient: bool = False,
    ) -> Any:
        """Send a JSON body and return the answer's JSON; ``patient`` is for what may take minutes."""
        return await asyncio.to_thread(self._client.post, path, body, idempotency_key=idempotency_key, patient=patient)

    async def patch(self, path: str, body: dict[str, Any]) -> Any:
        """Send changes as JSON, and return the answer's JSON."""
        return await asyncio.to_thread(self._client.patch, path, body)

    async def delete(self, path: str) -> Any:
        """Delete what is at a path, and return the answer's JSON."""
        return await asyncio.to_thread(self._client.delete, path)

    async def content(self, path: str, **query: str | int | None) -> bytes:
        """Return the bytes at a path, such as a picture's."""
        return await asyncio.to_thread(self._client.content, path, **query)
