"""Optuna behind a sweep: what to try next, and what to end early. Nothing else of ours knows it.

Its storage lies in the same Postgres, in the schema `optuna`, on connections of its own: every call here is a
transaction of its own, never inside one of ours. Each may be made again: a study is found by the sweep's id, a trial
by its number, an accuracy by its epoch, and an ending counts once (docs/decisions/0025-sweeps.md).

Optuna is loaded with the first sweep: a second and 60 MB that most processes never need.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.exc import SQLAlchemyError

from services.db.engine import Database
from services.errors import Unavailable
from services.specs.sweep import AxisSpec, PrunerSpec, SamplerSpec, SweepSpec
from services.sweeps.space import ends_of, grid_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial

SCHEMA = "optuna"
Ending = Literal["succeeded", "pruned", "failed", "cancelled"]
Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A trial that Optuna has thought of: its number, and the value of each axis."""

    number: int
    values: Json


class Storage:
    """Optuna's storage in our Postgres; opened by the first study, and made there by the first of all.

    Args:
        database: of whose server it is, under whose limits.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._storage: RDBStorage | None = None

    def study(self, sweep_id: str, sweep: SweepSpec, axes: Mapping[str, AxisSpec]) -> Study:
        """Return the study of a sweep, made by the first call.

        Raises:
            Unavailable: Postgres is away.
        """
        with self.answering():
            return Study(self, sweep_id, sweep, axes)

    @property
    def opened(self) -> RDBStorage:
        """Optuna's own object."""
        if self._storage is None:
            import optuna  # noqa: PLC0415 - see above

            optuna.logging.set_verbosity(optuna.logging.WARNING)
            engine = {"creator": lambda: self._database.connection(SCHEMA), "pool_size": 1, "pool_pre_ping": True}
            self._storage = optuna.storages.RDBStorage("postgresql+psycopg://", engine)
        return self._storage

    def close(self) -> None:
        """Close its connections."""
        if self._storage is not None:
            self._storage.engine.dispose()
            self._storage = None

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Say in our words that Postgres is away."""
        from optuna.exceptions import StorageInternalError  # noqa: PLC0415 - see above

        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise Unavailable(f"Postgres at {self._database.address}: {first}") from error


class Study:
    """What Optuna knows of one sweep. See `Storage.study`."""

    def __init__(self, storage: Storage, sweep_id: str, sweep: SweepSpec, axes: Mapping[str, AxisSpec]) -> None:
        from optuna import create_study  # noqa: PLC0415 - see above

        self._storage, self._sweep = storage, sweep
        self._axes = dict(axes)
        self._study = create_study(
            storage=storage.opened,
            study_name=sweep_id,
            direction="maximize",
            load_if_exists=True,
            pruner=pruner_of(sweep.pruner),
        )

    def forgotten(self, known: Collection[int]) -> Asked | None:
        """Return a trial that was asked for and that nobody took up, since its asker was killed in between."""
        from optuna.trial import TrialState  # noqa: PLC0415 - see above

        with self._storage.answering():
            trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            lost = min((trial.number for trial in trials if trial.number not in known), default=None)
            return None if lost is None else self._completed(lost)

    def ask(self) -> Asked:
        """Return what to try next.

        The draws depend on the sampler's seed and the trial's number alone: whoever asks, after whatever end of the
        process before, gets what one process would have got.
        """
        with self._storage.answering():
            number = len(self._study.get_trials(deepcopy=False))
            self._study.sampler = sampler_of(self._sweep.sampler, self._axes, number)
            return self._suggested(self._study.ask())

    def report(self, number: int, by_epoch: Mapping[int, float], *, ended: bool = False) -> int | None:
        """Report what a trial has reached, and return the epoch after which it is to end early, if it is.

        Args:
            number: of the trial.
            by_epoch: its accuracy after each epoch that has ended; those that were reported before are left out.
            ended: that it has come to its own end, and has all of its epochs reported for those that follow.
        """
        with self._storage.answering():
            frozen = self._frozen(number)
            if frozen.state.is_finished():
                return None
            trial = self._trial(number)
            for epoch in sorted(by_epoch.keys() - frozen.intermediate_values.keys()):
                trial.report(by_epoch[epoch], epoch)
                if trial.should_prune() and not ended:
                    return epoch
        return None

    def tell(self, number: int, ending: Ending, value: float | None) -> None:
        """Say how a trial ended; said again, it counts once.

        A pruned one has what it reached last, one that failed or was cancelled nothing.
        """
        from optuna.trial import TrialState  # noqa: PLC0415 - see above

        states = {"succeeded": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
        state = states.get(ending, TrialState.FAIL)
        with self._storage.answering():
            self._study.sampler = sampler_of(SamplerSpec(kind="random"), {}, number)
            self._study.tell(
                number, value if state is TrialState.COMPLETE else None, state=state, skip_if_finished=True
            )

    def _frozen(self, number: int) -> FrozenTrial:
        return next(trial for trial in self._study.get_trials(deepcopy=False) if trial.number == number)

    def _trial(self, number: int) -> Trial:
        from optuna.trial import Trial  # noqa: PLC0415 - see above

        self._study.sampler = sampler_of(SamplerSpec(kind="random"), {}, number)  # none of a grid: it would write
        return Trial(self._study, self._frozen(number)._trial_id)

    def _completed(self, number: int) -> Asked:
        """Return a trial with the values that its asker had given it, and new ones where it was killed before."""
        from optuna.trial import Trial  # noqa: PLC0415 - see above

        self._study.sampler = sampler_of(self._sweep.sampler, self._axes, number)
        return self._suggested(Trial(self._study, self._frozen(number)._trial_id))

    def _suggested(self, trial: Trial) -> Asked:
        return Asked(trial.number, {name: _suggest(trial, name, axis) for name, axis in self._axes.items()})


def drawn(sweep: SweepSpec, axes: Mapping[str, AxisSpec], count: int) -> list[Json]:
    """Return what the first trials would try as long as none has ended: those of `tpe` beyond its first ones differ."""
    from optuna import create_study, logging  # noqa: PLC0415 - see above

    logging.set_verbosity(logging.WARNING)
    study, found = create_study(), []
    axes = {name: axes[name] for name in sorted(axes, key=lambda name: (len(name), name))}  # as Postgres keeps them
    for number in range(count):
        study.sampler = sampler_of(sweep.sampler, axes, number)
        trial = study.ask()
        found.append({name: _suggest(trial, name, axis) for name, axis in axes.items()})
    return found


def _suggest(trial: Trial, name: str, axis: AxisSpec) -> Any:
    if axis.choices is not None:
        return json.loads(trial.suggest_categorical(name, texts_of(axis)))
    low, high = ends_of(axis)
    if axis.is_whole:
        return trial.suggest_int(name, int(low), int(high), step=int(axis.step or 1), log=axis.log)
    value = trial.suggest_float(name, low, high, step=axis.step, log=axis.log)
    return value if axis.step is None else round(value, 12)


def texts_of(axis: AxisSpec) -> list[str]:
    """Return choices as Optuna holds them: of any form, each as its JSON."""
    return [json.dumps(choice) for choice in axis.choices or ()]


def sampler_of(spec: SamplerSpec, axes: Mapping[str, AxisSpec], number: int) -> BaseSampler:
    """Return what draws a trial: its draws are those of this trial alone.

    Args:
        spec: which sampler, with which seed.
        axes: over which a grid is laid.
        number: of the trial.
    """
    from optuna import samplers  # noqa: PLC0415 - see above

    digest = hashlib.blake2b(f"{spec.seed} {number}".encode(), digest_size=4).digest()
    seed = int.from_bytes(digest, "big")
    if spec.kind == "grid":
        values = {
            name: texts_of(axis) if axis.choices is not None else [*(grid_of(axis) or ())]
            for name, axis in axes.items()
        }
        return samplers.GridSampler(values, seed=spec.seed)
    if spec.kind == "tpe":
        return samplers.TPESampler(n_startup_trials=spec.startup_trials, seed=seed)
    return samplers.RandomSampler(seed=seed)


def pruner_of(spec: PrunerSpec) -> BasePruner:
    """Return what ends trials early; epochs count from 1."""
    from optuna import pruners  # noqa: PLC0415 - see above

    if spec.kind == "median":
        return pruners.MedianPruner(n_startup_trials=spec.startup_trials, n_warmup_steps=spec.warmup_epochs + 1)
    if spec.kind == "successive_halving":
        return pruners.SuccessiveHalvingPruner(min_resource=spec.min_epochs, reduction_factor=spec.factor)
    return pruners.NopPruner()


def distribution_of(axis: AxisSpec) -> BaseDistribution:
    """Return an axis as Optuna's distribution."""
    from optuna import distributions  # noqa: PLC0415 - see above

    if axis.choices is not None:
        return distributions.CategoricalDistribution(texts_of(axis))
    low, high = ends_of(axis)
    if axis.is_whole:
        return distributions.IntDistribution(int(low), int(high), log=axis.log, step=int(axis.step or 1))
    return distributions.FloatDistribution(low, high, log=axis.log, step=axis.step)
