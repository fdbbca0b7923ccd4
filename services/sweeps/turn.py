"""One step of one sweep: look at its trials, tell Optuna how they ended, begin new ones, train the best in the end.

Each part is a transaction of its own and may be done again, by any process, after whatever end of the one before:

    ask      Optuna has a trial that we have no row of: the next turn finds it (`Study.forgotten`) and submits it
    submit   row of the trial and experiment are written together, under an idempotency key of the trial
    watch    Optuna knows an epoch once, and a pruned trial is cancelled together with its row
    tell     a row that is not `told` is told again, which counts once
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func
from sqlalchemy.orm import Session

from services import registry
from services.db.engine import Database
from services.db.tables import FINISHED, ExperimentRow, SweepRow, SweepTrialRow
from services.errors import Conflict, Finding, InvalidRequest, Refused
from services.journal import outbox
from services.planning import review, submission
from services.planning.linter import Facts
from services.planning.submission import OfSweep
from services.queue import experiments
from services.specs.sweep import SweepSpec
from services.stores.broker import Broker
from services.sweeps import accuracy, sweeps
from services.sweeps.accuracy import Look
from services.sweeps.space import RefusedPoint, Space, trials_of, worded
from services.sweeps.study import Asked, Ending, Storage, Study
from services.words import counted

HOPELESS = 5
"""Trials that fail before one succeeds, after which a sweep gives up; `parallel`, if that is more."""
PRUNED = "pruned"
"""Cause of an experiment whose trial was ended early."""

log = logging.getLogger(__name__)


@dataclass
class Turn:
    """One step of a sweep.

    Attributes:
        database: where all of it lies.
        broker: rung for what is submitted.
        storage: Optuna's.
        id: of the sweep.
    """

    database: Database
    broker: Broker
    storage: Storage
    id: str
    _dataset: tuple[registry.Seen, Facts] | None = field(default=None)

    def take(self) -> None:
        """Do what there is to do now.

        Raises:
            Unavailable: Postgres or Redis is away.
        """
        with self.database.transaction() as session:
            row, trials = sweeps.get(session, self.id), sweeps.trials(session, self.id)
        if row.state == "cancelling":
            self._cancel()
        elif row.state == "finishing":
            self._finish()
        elif row.state == "running":
            self._search(row, trials)

    # While trials run

    def _search(self, row: SweepRow, trials: Sequence[SweepTrialRow]) -> None:
        sweep, space = sweeps.spec_of(row)
        study = self.storage.study(self.id, sweep, space.axes)
        self._watch(sweep, study, [trial for trial in trials if trial.state == "running"])
        with self.database.transaction() as session:
            trials = sweeps.trials(session, self.id)
        self._tell(study, [trial for trial in trials if trial.state != "running" and not trial.told])
        if _is_hopeless(sweep, trials):
            self._end("failed", f"the first {counted(len(trials), 'trial')} failed: {trials[-1].message}")
        elif not self._fill(row, sweep, space, study, trials):
            self._choose(row, sweep, space)

    def _watch(self, sweep: SweepSpec, study: Study, running: Sequence[SweepTrialRow]) -> None:
        """See how far trials are: end those that the pruner ends, and write down how others ended."""
        ids = [trial.experiment_id for trial in running if trial.experiment_id is not None]
        with self.database.transaction() as session:
            looks = accuracy.look(session, ids, sweep.objective)
        for trial in running:
            look = looks.get(trial.experiment_id or "", Look(None, None, ()))
            ended = look.state in (*FINISHED, None)
            by_epoch = look.by_epoch
            epoch = study.report(trial.number, by_epoch, ended=ended)
            if ended:
                self._write_end(trial.number, look)
            elif epoch is not None and look.state != "cancelling":
                self._prune(sweep, trial, epoch, by_epoch[epoch])
            elif len(by_epoch) > trial.epochs:
                self._write(trial.number, epochs=len(by_epoch), value=max(by_epoch.values()))

    def _write_end(self, number: int, look: Look) -> None:
        ending, value, message = _ending(look)
        epochs = len(look.by_epoch)
        self._write(
            number, state=ending, value=value, message=message, epochs=epochs, finished_at=func.clock_timestamp()
        )

    def _prune(self, sweep: SweepSpec, trial: SweepTrialRow, epoch: int, value: float) -> None:
        """End a trial early: its experiment is cancelled, with the cause that it was pruned."""
        message = f"{100 * value:.1f} % after {counted(epoch, 'epoch')}: {sweep.pruner.kind} ends it"

        def work(session: Session) -> None:
            experiment = session.get_one(ExperimentRow, trial.experiment_id)
            if experiment.state not in FINISHED:
                experiments.cancel(session, experiment.id, sweeps.HOUSE, cause=PRUNED, message=message)
                ended = {"state": "pruned", "value": value, "message": message, "epochs": epoch}
                _update(session, self.id, trial.number, **ended, finished_at=func.clock_timestamp())

        try:
            self.database.run(work)
        except Conflict as error:  # it has ended meanwhile, which the next turn sees
            log.info("trial %d of sweep %s is not pruned: %s", trial.number, self.id, error)

    def _write(self, number: int, **values: object) -> None:
        self.database.run(lambda session: _update(session, self.id, number, **values))

    def _tell(self, study: Study, trials: Sequence[SweepTrialRow]) -> None:
        for trial in trials:
            ending: Ending = trial.state  # type: ignore[assignment]  # one of TRIAL_STATES but running
            study.tell(trial.number, ending, trial.value)
            self._write(trial.number, told=True)

    def _fill(
        self, row: SweepRow, sweep: SweepSpec, space: Space, study: Study, trials: Sequence[SweepTrialRow]
    ) -> bool:
        """Begin trials as long as there is room and budget; return whether any trial is left to wait for."""
        known = {trial.number for trial in trials}
        running = sum(trial.state == "running" for trial in trials)
        for _ in range(sweep.parallel - running):
            if len(known) >= trials_of(sweep, space) or not self._can_pay(row, sweep):
                break
            asked = study.forgotten(known) or study.ask()
            known.add(asked.number)
            self._submit(row, sweep, space, asked)
        return running > 0 or len(known) > len(trials)  # those that were refused at once are told in the next turn

    def _can_pay(self, row: SweepRow, sweep: SweepSpec) -> bool:
        if sweep.budget.gpu_hours is None:
            return True
        with self.database.transaction() as session:
            return sweeps.gpu_hours(session, row) < sweep.budget.gpu_hours

    def _submit(self, row: SweepRow, sweep: SweepSpec, space: Space, asked: Asked) -> None:
        """Write down a trial and submit its experiment, together; one that cannot be an experiment has failed."""
        seen, facts = self._look(row)

        def work(session: Session) -> Mapping[str, int]:
            if sweeps.locked(session, self.id).state != "running":
                return {}
            if session.get(SweepTrialRow, (self.id, asked.number)) is not None:
                return {}
            made = submission.submit(
                session,
                space.trial(sweep, asked.number, asked.values),
                owner=row.owner,
                recipe=row.recipe,
                idempotency_key=f"sweep:{self.id}:{asked.number}",
                body_digest=row.body_digest,
                seen=seen,
                facts=facts,
                sweep=OfSweep(self.id, row.name, asked.number),
            )
            values = {"values": asked.values, "experiment_id": made.row.id}
            session.add(SweepTrialRow(sweep_id=self.id, number=asked.number, **values))
            return made.queues

        try:
            queues = self.database.run(work)
        except (InvalidRequest, Refused, RefusedPoint) as error:
            self._refuse(asked, error)
        except Conflict as error:  # the dataset's lists have changed: no trial could be compared with those before
            self._end("failed", str(error))
        else:
            self.broker.ring(queues)

    def _refuse(self, asked: Asked, error: Exception) -> None:
        why = error.error.errors()[0]["msg"] if isinstance(error, RefusedPoint) else str(error)
        values = {"values": asked.values, "state": "failed", "message": f"{worded(asked.values)}: {why}"}

        def work(session: Session) -> None:
            if session.get(SweepTrialRow, (self.id, asked.number)) is None:
                ended = func.clock_timestamp()
                session.add(SweepTrialRow(sweep_id=self.id, number=asked.number, **values, finished_at=ended))

        self.database.run(work)

    def _look(self, row: SweepRow) -> tuple[registry.Seen, Facts]:
        """Return what this host sees of the dataset, read once a turn and outside of transactions."""
        if self._dataset is None:
            seen = registry.look_again(self.database, row.dataset)
            self._dataset = seen, review.look(self.database, row.dataset, seen)
        return self._dataset

    # In the end

    def _choose(self, row: SweepRow, sweep: SweepSpec, space: Space) -> None:
        """Train the best configuration as a whole, or end where there is none."""
        seen, facts = self._look(row)

        def work(session: Session) -> Mapping[str, int]:
            own = sweeps.locked(session, self.id)
            trials = sweeps.trials(session, self.id)
            if own.state != "running":
                return {}
            best = _best(trials)
            if best is None:
                _close(session, own, "failed", f"none of {counted(len(trials), 'trial')} ran to its end")
                return {}
            own.state, own.best_trial = "finishing", best.number
            made = submission.submit(
                session,
                space.best(sweep, best.values),
                owner=row.owner,
                recipe=row.recipe,
                idempotency_key=f"sweep:{self.id}:best",
                body_digest=row.body_digest,
                seen=seen,
                facts=facts,
                sweep=OfSweep(self.id, row.name, None, (_best_of(own, sweep, trials),)),
            )
            return made.queues

        try:
            self.broker.ring(self.database.run(work))
        except (InvalidRequest, Refused, RefusedPoint, Conflict) as error:
            self._end("failed", f"the best configuration is refused: {error}")

    def _finish(self) -> None:
        """End when the best configuration is trained and tested."""

        def work(session: Session) -> None:
            own = sweeps.locked(session, self.id)
            best = sweeps.best_experiment(session, self.id)
            if own.state != "finishing" or (best is not None and best.state not in FINISHED):
                return
            if best is None:
                _close(session, own, "failed", "the experiment of the best configuration was deleted")
            else:
                _close(session, own, best.state, best.message)

        self.database.run(work)

    def _cancel(self) -> None:
        """End a sweep that is cancelled once none of its experiments runs."""
        sweeps.cancel_experiments(self.database, self.id)

        def work(session: Session) -> None:
            own = sweeps.locked(session, self.id)
            running = [trial for trial in sweeps.trials(session, self.id) if trial.state == "running"]
            best = sweeps.best_experiment(session, self.id)
            owed = best is not None and best.state not in FINISHED
            for trial in running:
                experiment = session.get(ExperimentRow, trial.experiment_id) if trial.experiment_id else None
                if experiment is not None and experiment.state not in FINISHED:
                    owed = True
                else:
                    trial.state, trial.finished_at = "cancelled", func.clock_timestamp()
            if own.state == "cancelling" and not owed:
                _close(session, own, "cancelled", None)

        self.database.run(work)

    def _end(self, state: str, message: str | None) -> None:
        """End a sweep early; trials that run are cancelled."""

        def work(session: Session) -> None:
            own = sweeps.locked(session, self.id)
            if own.state in sweeps.LIVE:
                for trial in sweeps.trials(session, self.id):
                    if trial.state == "running":
                        trial.state, trial.finished_at = "cancelled", func.clock_timestamp()
                _close(session, own, state, message)

        self.database.run(work)
        sweeps.cancel_experiments(self.database, self.id)


def _update(session: Session, sweep_id: str, number: int, **values: object) -> None:
    trial = session.get_one(SweepTrialRow, (sweep_id, number), with_for_update={"key_share": True})
    if trial.state == "running" or values.keys() <= {"told"}:
        for name, value in values.items():
            setattr(trial, name, value)


def _close(session: Session, own: SweepRow, state: str, message: str | None) -> None:
    """Write a sweep's last state, and close its run in MLflow."""
    own.state, own.message, own.finished_at = state, message, func.clock_timestamp()
    trials = sweeps.trials(session, own.id)
    best = sweeps.best_experiment(session, own.id)
    ids = [trial.experiment_id for trial in trials if trial.experiment_id] if best is None else [best.id]
    if ids:
        tags = {"trials": str(len(trials))}
        tags |= {} if own.best_trial is None else {"best_trial": str(own.best_trial)}
        outbox.finish_sweep(session, ids[-1], {"id": own.id, "name": own.name}, state, **tags)


def _ending(look: Look) -> tuple[Ending, float | None, str | None]:
    """Return how a trial ended whose experiment has, its accuracy, and why it has none."""
    if look.state is None:
        return "cancelled", None, "its experiment was deleted"
    if look.state == "succeeded":
        value = look.kept
        return ("failed", None, "its stages reported no accuracy") if value is None else ("succeeded", value, None)
    return ("failed" if look.state == "failed" else "cancelled"), None, look.message


def _is_hopeless(sweep: SweepSpec, trials: Sequence[SweepTrialRow]) -> bool:
    states = [trial.state for trial in trials]
    return len(states) >= max(HOPELESS, sweep.parallel) and set(states) == {"failed"}


def _best(trials: Sequence[SweepTrialRow]) -> SweepTrialRow | None:
    """Return the trial of the highest accuracy; the earlier one of equals."""
    ended = [trial for trial in trials if trial.state == "succeeded" and trial.value is not None]
    return max(ended, key=lambda trial: (trial.value, -trial.number), default=None)


def _best_of(own: SweepRow, sweep: SweepSpec, trials: Sequence[SweepTrialRow]) -> Finding:
    where = "the test list" if sweep.objective == "test" else "groups of clips held out of the train list"
    sentence = (
        f"its configuration is the best of {counted(len(trials), 'trial')} by accuracy on {where}, sweep {own.id}"
    )
    return Finding("best_of_trials", "flagged", "training", sentence)
