"""Launches the experiments behind a paper's rows: those that are there are taken, the others submitted.

Each is a transaction of its own, members before the ensembles that name them. Launching again goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services import registry, revisions
from services.db.engine import Database
from services.db.tables import ExperimentRow, ExperimentStageRow, PaperRow, ScoreUploadRow
from services.errors import Finding
from services.journal import outbox
from services.papers import MEMBER, Order, PrintedFigure, Run, Skipped, runs
from services.planning import review, submission
from services.planning.dry_run import Foreseen, foresee
from services.planning.linter import Facts
from services.specs import EnsembleSpec, ExperimentSpec, MemberSpec

GONE = ("failed", "cancelling", "cancelled")
"""States of an experiment that is launched anew."""


@dataclass(frozen=True)
class Launched:
    """An experiment behind some rows.

    Attributes:
        run: what was wanted.
        experiment: that is there now.
        created: whether it is new; else one with the same system, splits, streams and seeds was there.
        queues: how much new work each queue has.
    """

    run: Run
    experiment: ExperimentRow
    created: bool
    queues: Mapping[str, int]


@dataclass(frozen=True)
class Launch:
    """What a launch did, the figures for which it could do nothing, and how many different stages there are now."""

    launched: tuple[Launched, ...]
    skipped: tuple[Skipped, ...]
    unique: int


@dataclass(frozen=True)
class Planned:
    """An experiment that a launch would submit, or find; ``experiment_id`` is None for a new one.

    Of one that is there the findings are those that it has.
    """

    run: Run
    experiment_id: str | None
    stages: tuple[Foreseen, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class LaunchPlan:
    """What a launch would do."""

    planned: tuple[Planned, ...]
    skipped: tuple[Skipped, ...]


@dataclass
class Launcher:
    """Launches figures of one paper.

    Attributes:
        database: for a transaction for each experiment.
        owner: of what is submitted.
        order: seeds and reduction.
        ring: called with the new work of each experiment, once it is there.
    """

    database: Database
    owner: str
    order: Order
    ring: Callable[[Mapping[str, int]], object] = lambda _: None
    _seen: dict[str, registry.Seen] = field(default_factory=dict)
    _facts: dict[str, Facts] = field(default_factory=dict)

    def launch(self, figures: Iterable[PrintedFigure]) -> Launch:
        """Submit what is not there.

        Raises:
            InvalidRequest: a dataset is not registered, here or as the source of weights.
            Refused: the linter finds that numbers would be wrong.
            Conflict: a dataset's lists have changed.
        """
        wanted, skipped = self._runs(figures)
        made: dict[str, str] = {}
        launched = []
        for run in wanted:
            found = self.database.run(lambda session, run=run: self._one(session, run, made))  # type: ignore[misc]
            self.ring(found.queues)
            made[run.digest] = found.experiment.id
            launched.append(found)
        return Launch(tuple(launched), tuple(skipped), self._unique(made.values()))

    def _unique(self, ids: Iterable[str]) -> int:
        keys = func.count(func.distinct(ExperimentStageRow.stage_key))
        with self.database.transaction() as session:
            found = session.scalar(select(keys).where(ExperimentStageRow.experiment_id.in_([*ids])))
        return found or 0

    def plan(self, figures: Iterable[PrintedFigure]) -> LaunchPlan:
        """Return what a launch would do; nothing is written."""
        wanted, skipped = self._runs(figures)
        coming: dict[str, ExperimentSpec] = {}
        planned = []
        for run in wanted:
            with self.database.transaction() as session:
                standing = _standing(session, run, _system_of(session, run))
                if run.spec is not None:
                    coming[_stand_in(run.digest)] = run.spec
                spec = run.spec or _ensemble(session, run, {digest: _stand_in(digest) for digest in _parts(run)})
                seen, facts = self._seen[run.dataset], self._facts[run.dataset]
                trial = foresee(session, spec, run.recipe, seen, facts, coming)
            if standing is None:
                planned.append(Planned(run, None, trial.stages, trial.findings))
            else:
                flags = tuple(Finding(**flag) for flag in standing.flags)
                planned.append(Planned(run, standing.id, trial.stages, flags))
        return LaunchPlan(tuple(planned), tuple(skipped))

    def _runs(self, figures: Iterable[PrintedFigure]) -> tuple[list[Run], list[Skipped]]:
        """Return what can be launched, without members that nothing but an ensemble without its scores needs."""
        found = tuple(figures)
        with self.database.transaction() as session:
            names = {self.order.by.dataset or figure.dataset for figure in found}
            splits = {name: tuple(registry.chosen(session, name).splits) for name in sorted(names)}
        for name in sorted(names):
            self._seen[name] = registry.look_again(self.database, name)
            self._facts[name] = review.look(self.database, name, self._seen[name])
        wanted, lacking = runs(found, self.order, splits)
        with self.database.transaction() as session:
            missing = {run.digest: reason for run in wanted if (reason := _missing_scores(session, run))}
        lost = [(run.digest, covered) for run in wanted if run.digest in missing for covered in run.figures]
        skipped = [*lacking, *(Skipped(covered.figure, missing[digest]) for digest, covered in lost)]
        places = {covered.figure.place for _, covered in lost}
        return [
            run
            for run in wanted
            if run.digest not in missing
            and any(covered.part != MEMBER or covered.figure.place not in places for covered in run.figures)
        ], skipped

    def _one(self, session: Session, run: Run, made: Mapping[str, str]) -> Launched:
        """Find or submit an experiment, and note the rows that it stands behind."""
        system = _system_of(session, run)
        session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 1))"), {"key": system})
        standing = _standing(session, run, system)
        if standing is not None:
            found = Launched(run, standing, False, {})
        else:
            submitted = submission.submit(
                session,
                run.spec or _ensemble(session, run, made),
                owner=self.owner,
                recipe=run.recipe,
                body_digest=system,
                seen=self._seen[run.dataset],
                facts=self._facts[run.dataset],
            )
            found = Launched(run, submitted.row, True, submitted.queues)
        behind = {"experiment_id": found.experiment.id, "system": system}
        places = [(_row(covered.figure, covered.part), covered.reduced) for covered in run.figures]
        unique = {tuple(row.values()): {**row, **behind, "reduced": is_reduced} for row, is_reduced in places}
        noted = insert(PaperRow).values([*unique.values()])
        anew = noted.excluded.reduced
        session.execute(
            noted.on_conflict_do_update(
                constraint=PaperRow.__table__.primary_key,  # type: ignore[arg-type]
                set_={"reduced": anew},
                where=PaperRow.reduced != anew,
            )
        )
        if not found.created:  # its run may be there already
            outbox.tag_papers(session, found.experiment.id)
        return found


def _row(figure: PrintedFigure, part: int) -> dict[str, Any]:
    place = {"paper": figure.paper, "table_name": figure.table, "row": figure.row}
    return {**place, "dataset": figure.dataset, "part": part}


def _system_of(session: Session, run: Run) -> str:
    """Return by what an experiment is known that measures the same on the same data, with the same scores."""
    _, revision = revisions.numbers(session, run.dataset)
    scores = [_scores(session, run, member.scores) for member in run.members if member.scores is not None]
    return hashlib.sha256(f"{run.digest} {revision} {scores or ''}".encode()).hexdigest()


def _standing(session: Session, run: Run, system: str) -> ExperimentRow | None:
    """Return the newest experiment that has all of a run's splits, streams and seeds, and is not lost."""
    query = (
        select(ExperimentRow)
        .where(ExperimentRow.id.in_(select(PaperRow.experiment_id).where(PaperRow.system == system)))
        .where(ExperimentRow.state.not_in(GONE), ExperimentRow.withdrawn_at.is_(None))
        .order_by(ExperimentRow.id.desc())
        .with_for_update(read=True, key_share=True)  # nobody deletes it before a row refers to it
    )
    streams = () if run.spec is None else run.spec.streams
    for row in session.scalars(query):
        has = {name: set(row.spec.get(name, ())) for name in ("splits", "seeds", "streams")}
        if has["splits"] >= {*run.splits} and has["seeds"] >= {*run.seeds} and has["streams"] >= {*streams}:
            return row
    return None


def _ensemble(session: Session, run: Run, ids: Mapping[str, str]) -> EnsembleSpec:
    """Return an ensemble over the experiments of some runs, and over score files that users brought."""
    return EnsembleSpec(
        name=run.name,
        dataset=run.dataset,
        splits=run.splits,
        members=tuple(
            MemberSpec(scores=tuple(_scores(session, run, member.scores).values()))
            if member.scores is not None
            else MemberSpec(experiment=ids[member.digest or ""], stream=member.stream)
            for member in run.members
        ),
        method=run.method,
        seeds=run.seeds,
    )


def _parts(run: Run) -> Iterator[str]:
    return (member.digest for member in run.members if member.digest is not None)


def _stand_in(digest: str) -> str:
    """Return an id for an experiment that is not there yet."""
    return f"exp_{digest[:36]}"


def _scores(session: Session, run: Run, name: str) -> dict[int, str]:
    """Return the newest score files of a name, by the run's splits."""
    query = (
        select(ScoreUploadRow.split, ScoreUploadRow.id)
        .where(ScoreUploadRow.dataset == run.dataset, ScoreUploadRow.name == name)
        .where(ScoreUploadRow.split.in_(run.splits))
        .order_by(ScoreUploadRow.split, ScoreUploadRow.created_at)
    )
    return {split: id_ for split, id_ in session.execute(query)}  # noqa: C416 - rows are not pairs to mypy


def _missing_scores(session: Session, run: Run) -> str | None:
    """Say which score files a run lacks; None where it lacks none."""
    for member in run.members:
        if member.scores is not None:
            splits = sorted({*run.splits} - _scores(session, run, member.scores).keys())
            if splits:
                words = f"split {splits[0]}" if len(splits) == 1 else f"splits {', '.join(map(str, splits))}"
                return f"no score file named {member.scores!r} of {run.dataset}, {words}: bring it with POST /scores"
    return None


def stage_counts(planned: Sequence[Planned]) -> tuple[int, int]:
    """Return how many stages plans have, and how many different ones."""
    keys = [each.stage.key for plan in planned for each in plan.stages]
    return len(keys), len(set(keys))
