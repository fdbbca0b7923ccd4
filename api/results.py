"""A measured result in full, from what Postgres holds of each clip."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict

from api.board import Bounds, Result
from api.deps import DatabaseDep
from services import revisions
from services.board import evaluation
from services.board.evaluation import Evaluation

router = APIRouter(prefix="/results", tags=["results"])


class Shape(BaseModel):
    """Read from what the service returns."""

    model_config = ConfigDict(from_attributes=True)


class ClassRate(Shape):
    """The top-1 accuracy of a class; null where no clip of it is tested. `clips` counts a clip in each split."""

    name: str
    category: str | None
    clips: int
    top1: float | None


class Bin(Shape):
    """Answers whose confidence is above `lower`, up to `upper`, over all splits and seeds."""

    lower: float
    upper: float
    answers: int
    confidence: float | None
    top1: float | None


class Calibration(Shape):
    """Whether answers are as often right as they are sure.

    Attributes:
        error: expected calibration error, over 15 bins of equal width.
        interval: 95 %, by bootstrap.
        brier: mean squared gap between the confidence of an answer and whether it is right.
        confidence: the mean.
        bins: the reliability diagram.
    """

    error: float
    interval: Bounds | None
    brier: float
    confidence: float
    bins: list[Bin]


class HardClip(Shape):
    """A clip whose class stands behind many others.

    Attributes:
        clip: its id.
        label: the right class.
        predicted: the class that most seeds say.
        rank: how many classes stand before the right one, a mean over seeds.
        confidence: of the answers, a mean over seeds.
    """

    clip: str | None
    split: int
    label: str
    predicted: str
    rank: float
    confidence: float | None


class ResultDetail(Result):
    """A result in full; of a mean, what is said of classes and calibration is the mean over splits of that over seeds.

    Attributes:
        classes: top-1 by class, in the order of labels.
        confusion: answers by right class (row) and predicted class, added up over splits and seeds.
        calibration: null where confidences were not kept.
        hardest: hardest first.
        bootstrap: 95 % intervals of metrics by name; top-1 has Wilson's interval above.
        units: what the bootstrap draws, clips or groups of them that share a scene or film, and `num_units` how many.
        notes: why something is null or empty.
    """

    experiment_id: str
    name: str
    dataset: str
    model: str
    classes: list[ClassRate]
    confusion: list[list[int]]
    calibration: Calibration | None
    hardest: list[HardClip]
    bootstrap: dict[str, Bounds]
    units: Literal["groups", "clips"] | None
    num_units: int | None
    notes: list[str]

    @classmethod
    def in_full(cls, found: Evaluation, present: int) -> Self:
        """Shape an evaluation; ``present`` is the number of the dataset's present revision."""
        row = found.result.row
        return cls(
            **Result.of(found.result, present).model_dump(),
            experiment_id=row.experiment_id,
            name=row.name,
            dataset=row.dataset,
            model=row.model,
            classes=[ClassRate.model_validate(each) for each in found.classes],
            confusion=[list(counts) for counts in found.confusion],
            calibration=None if found.calibration is None else Calibration.model_validate(found.calibration),
            hardest=[HardClip.model_validate(each) for each in found.hardest],
            bootstrap=dict(found.intervals),
            units=found.units,
            num_units=found.num_units,
            notes=list(found.notes),
        )


@router.get("/{result_id}")
def detail(
    result_id: Annotated[int, Path(ge=1, lt=2**63)],
    database: DatabaseDep,
    hardest: Annotated[int, Query(ge=0, le=200)] = 20,
) -> ResultDetail:
    """Return a result with its classes, confusion, calibration, hardest clips, and bootstrap intervals."""
    with database.transaction() as session:
        found = evaluation.of_result(session, result_id, hardest)
        _, present = revisions.numbers(session, found.result.row.dataset)
    return ResultDetail.in_full(found, present)
