"""When stages that wait would start: the queue is played through, as workers claim from it.

Pure: no database. Each run takes one length for every stage, such as the least that it may take; what is left out is
that workers come and go, that stages fail, and that others are submitted meanwhile.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from services.settings import EVERYBODY, Quota


@dataclass(frozen=True)
class Job:
    """A stage that waits.

    Attributes:
        ready_at: when its inputs were there, in seconds from now, so that it is negative; None where they are not yet.
        seconds: how long it would take; infinite where nobody knows.
        needs: keys of unfinished stages that it takes as inputs.
        earliest: seconds from now before which it is not claimed.
    """

    key: str
    queue: str
    gpus: int
    priority: int
    owner: str
    seconds: float
    ready_at: float | None = None
    needs: frozenset[str] = frozenset()
    earliest: float = 0.0


@dataclass(frozen=True)
class Running:
    """A stage that runs on a worker, and the seconds until its end.

    ``gpus`` are those that it holds, ``asked`` those that count against its owner's quota: as many where it is None.
    """

    key: str
    worker: str
    queue: str
    gpus: int
    owner: str
    seconds: float
    asked: int | None = None


@dataclass
class Slots:
    """What is free of a worker: threads, those of them that take stages of queue `cpu`, and GPUs, None without any."""

    queues: Sequence[str]
    threads: int
    cpu: int
    gpus: int | None

    @classmethod
    def of(cls, queues: Sequence[str], devices: Sequence[str], concurrency: int) -> Slots:
        """Return those of a worker that does nothing, as ``worker.host.devices`` lends them."""
        gpus = sum(name != "cpu" for name in devices)
        reserved = gpus if "gpu" in queues else 0
        return cls(queues, concurrency, max(1, concurrency - reserved), gpus or None)

    def fits(self, queue: str, gpus: int) -> bool:
        """Whether a stage could run there now."""
        if queue not in self.queues or self.threads < 1:
            return False
        if queue == "cpu":
            return self.cpu > 0
        return gpus <= 1 if self.gpus is None else gpus <= self.gpus

    def take(self, queue: str, gpus: int, sign: int = 1) -> None:
        """Lend a stage what it needs, or with ``sign`` -1 take it back."""
        self.threads -= sign
        if queue == "cpu":
            self.cpu -= sign
        elif self.gpus is not None:
            self.gpus -= sign * gpus


NOBODY: Mapping[str, Quota] = MappingProxyType({})
Times = dict[str, tuple[float, float]]
"""By key, in how many seconds a stage starts and ends; what never starts is not there."""


def play(
    jobs: Iterable[Job],
    running: Iterable[Running],
    workers: Mapping[str, Slots],
    quotas: Mapping[str, Quota] = NOBODY,
) -> Times:
    """Return when each stage starts and ends.

    Args:
        jobs: the stages that wait.
        running: those that run; of workers that are not among ``workers`` nobody takes the slot.
        workers: what each worker has when it does nothing, by its id. It is used up.
        quotas: of owners, ``*`` for what others do not say; an owner who runs what they may has nothing started, and
            who runs least by their share is next.
    """
    return _Play(jobs, running, workers, quotas).run()


class _Limits(NamedTuple):
    """Of one owner: their own, or what everybody has."""

    stages: int | None
    gpus: int | None
    share: float

    @classmethod
    def of(cls, own: Quota | None, rest: Quota | None) -> _Limits:
        own, rest = own or Quota(), rest or Quota()
        return cls(
            rest.stages if own.stages is None else own.stages,
            rest.gpus if own.gpus is None else own.gpus,
            own.share or rest.share or 1.0,
        )


class _Play:
    """One run; ``events`` are the ends of stages and of pauses that are yet to come."""

    def __init__(
        self,
        jobs: Iterable[Job],
        running: Iterable[Running],
        workers: Mapping[str, Slots],
        quotas: Mapping[str, Quota],
    ) -> None:
        self.now = 0.0
        self.times: Times = {}
        self.workers, self.load, self.gpus = workers, Counter[str](), Counter[str]()
        self.quotas, self.limits = quotas, dict[str, _Limits]()
        self.jobs = {job.key: job for job in jobs}
        self.owed = {job.key: set(job.needs) for job in self.jobs.values()}
        self.takers: dict[str, list[str]] = defaultdict(list)
        self.lines: dict[tuple[str, int], dict[str, list[tuple[int, tuple[float, str]]]]] = {}
        self.held: dict[str, Running] = {}
        self.events: list[tuple[float, str]] = []
        for stage in running:
            self._occupy(stage)
        for job in self.jobs.values():
            for key in job.needs:
                self.takers[key].append(job.key)
            if not job.needs:
                self._line_up(job)

    def run(self) -> Times:
        while True:
            while self._start_the_best():
                pass
            if not self.events:
                return self.times
            self._go_on()

    def _line_up(self, job: Job) -> None:
        """Put a stage whose inputs are there into line; one that pauses comes at the end of its pause."""
        if job.earliest > self.now:
            heapq.heappush(self.events, (job.earliest, job.key))
        else:
            line = self.lines.setdefault((job.queue, job.gpus), defaultdict(list))
            ready_at = self.now if job.ready_at is None else job.ready_at
            heapq.heappush(line[job.owner], (-job.priority, (ready_at, job.key)))

    def _start_the_best(self) -> bool:
        """Start the stage that a worker with room for it would claim; False where there is none."""
        best: tuple[int, float, tuple[float, str]] | None = None
        place = ""
        for (queue, gpus), line in self.lines.items():
            worker = next((name for name, slots in self.workers.items() if slots.fits(queue, gpus)), None)
            if worker is None:
                continue
            for owner, entries in line.items():
                if not entries or not self._may(owner, queue, gpus):
                    continue
                turn = (entries[0][0], self.load[owner] / self._quota(owner).share, entries[0][1])
                if best is None or turn < best:
                    best, place = turn, worker
        if best is None:
            return False
        job = self.jobs[best[2][1]]
        heapq.heappop(self.lines[job.queue, job.gpus][job.owner])
        self._occupy(Running(job.key, place, job.queue, job.gpus, job.owner, job.seconds))
        return True

    def _may(self, owner: str, queue: str, gpus: int) -> bool:
        """Whether an owner's quota has room for one more stage of a queue, as a claim asks."""
        quota = self._quota(owner)
        if quota.stages is not None and self.load[owner] >= quota.stages:
            return False
        return queue != "gpu" or quota.gpus is None or self.gpus[owner] + gpus <= quota.gpus

    def _quota(self, owner: str) -> _Limits:
        found = self.limits.get(owner)
        if found is None:
            found = self.limits[owner] = _Limits.of(self.quotas.get(owner), self.quotas.get(EVERYBODY))
        return found

    def _occupy(self, stage: Running) -> None:
        self.times[stage.key] = (self.now, self.now + stage.seconds)
        self.held[stage.key] = stage
        self._count(stage, 1)
        if stage.seconds < inf:
            heapq.heappush(self.events, (self.now + stage.seconds, stage.key))

    def _count(self, stage: Running, sign: int) -> None:
        """Have a stage hold its slot and count for its owner, or with ``sign`` -1 no longer."""
        self.load[stage.owner] += sign
        if stage.queue == "gpu":
            self.gpus[stage.owner] += sign * (stage.gpus if stage.asked is None else stage.asked)
        if stage.worker in self.workers:
            self.workers[stage.worker].take(stage.queue, stage.gpus, sign)

    def _go_on(self) -> None:
        """Come to the next end of a stage, which frees its slot and may be what others waited for, or of a pause."""
        self.now, key = heapq.heappop(self.events)
        if key not in self.held:
            self._line_up(self.jobs[key])
            return
        self._count(self.held.pop(key), -1)
        for taker in self.takers.pop(key, ()):
            self.owed[taker].discard(key)
            if not self.owed[taker]:
                self._line_up(self.jobs[taker])
