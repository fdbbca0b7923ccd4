"""Which fields of a sweep mattered: their importance by fANOVA, and the accuracy over two of them, from its rows alone.

Importances are Optuna's (Hutter, Hoos and Leyton-Brown, ICML 2014): the share of the variance of the accuracy that
each field explains by itself, over the trials that ran to their end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from services.db.tables import SweepTrialRow
from services.errors import InvalidRequest, NotFound
from services.figures.trials import Axis, Contour, Importance, Point
from services.specs.sweep import AxisSpec
from services.sweeps.study import distribution_of, texts_of

LEAST = 4
"""Trials without which nothing is said of importance."""
FIGURES = ("importance", "contour")
Told = tuple[tuple[tuple[str, Any], ...], float]


def lacks(trials: Sequence[SweepTrialRow], axes: Mapping[str, AxisSpec], figure: str) -> str | None:
    """Say why a sweep does not have a figure; None where it has."""
    ended = _ended(trials)
    if len(ended) < LEAST:
        return f"{len(ended)} of its trials have run to their end, and it takes {LEAST}"
    if len({trial.value for trial in ended}) < 2:
        return "all its trials have the same accuracy"
    if figure == "contour" and len(axes) < 2:
        return "its space has one field alone"
    return None


def importances(trials: Sequence[SweepTrialRow], axes: Mapping[str, AxisSpec]) -> dict[str, float]:
    """Return the importance of each field, 0 to 1 and 1 in sum, the largest first; nothing where it is not known."""
    if lacks(trials, axes, "importance") is not None:
        return {}
    told = tuple((tuple((name, _internal(axes[name], trial.values[name])) for name in axes), trial.value or 0.0)
                 for trial in _ended(trials))  # fmt: skip
    return dict(_importances(told, json.dumps({name: axis.model_dump(mode="json") for name, axis in axes.items()})))


@lru_cache(maxsize=16)
def _importances(told: Sequence[Told], axes: str) -> tuple[tuple[str, float], ...]:
    """Return importances; those of the same trials are computed once."""
    import optuna  # noqa: PLC0415 - see `study`
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = {name: AxisSpec.model_validate(axis) for name, axis in json.loads(axes).items()}
    study = optuna.create_study(direction="maximize")
    distributions = {name: distribution_of(axis) for name, axis in found.items()}
    for values, value in told:
        study.add_trial(optuna.trial.create_trial(params=dict(values), distributions=distributions, value=value))
    result = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return tuple((name, round(float(share), 6)) for name, share in result.items())


def importance_of(title: str, trials: Sequence[SweepTrialRow], axes: Mapping[str, AxisSpec]) -> Importance:
    """Return the picture of importances.

    Raises:
        NotFound: too little is known.
    """
    _require(title, trials, axes, "importance")
    return Importance(title, tuple(importances(trials, axes).items()))


def contour_of(
    title: str, trials: Sequence[SweepTrialRow], axes: Mapping[str, AxisSpec], x: str | None, y: str | None
) -> Contour:
    """Return the picture of the accuracy over two fields, the two most important ones if none are named.

    Raises:
        InvalidRequest: the space has no such field, or it is the same twice.
        NotFound: too little is known.
    """
    _require(title, trials, axes, "contour")
    for name, given in (("x", x), ("y", y)):
        if given is not None and given not in axes:
            raise InvalidRequest(name, given, ", ".join(axes))
    if x is not None and x == y:
        raise InvalidRequest("y", y, "another field than x")
    order = [name for name in importances(trials, axes) if name not in (x, y)]
    first = x or order.pop(0)
    second = y or order.pop(0)
    shown = [trial for trial in trials if trial.value is not None and trial.state in ("succeeded", "pruned")]
    ended = [
        Point(place_of(axes[first], trial.values[first]), place_of(axes[second], trial.values[second]),
              trial.value or 0.0, trial.state == "pruned")
        for trial in shown
    ]  # fmt: skip
    return Contour(title, _axis(first, axes[first]), _axis(second, axes[second]), tuple(ended))


def place_of(axis: AxisSpec, value: Any) -> float:
    """Return where a value lies on an axis: itself, or the place of a choice."""
    return float(value) if axis.choices is None else float(texts_of(axis).index(json.dumps(value)))


def _axis(name: str, axis: AxisSpec) -> Axis:
    return Axis(name, axis.log, tuple(texts_of(axis)))


def _internal(axis: AxisSpec, value: Any) -> Any:
    return value if axis.choices is None else json.dumps(value)


def _ended(trials: Sequence[SweepTrialRow]) -> list[SweepTrialRow]:
    return [trial for trial in trials if trial.state == "succeeded" and trial.value is not None]


def _require(title: str, trials: Sequence[SweepTrialRow], axes: Mapping[str, AxisSpec], figure: str) -> None:
    reason = lacks(trials, axes, figure)
    if reason is not None:
        raise NotFound(f"figure of {title}", figure, reason)
