"""What an experiment uses of its machines now, and how long it may still take, as its live events tell it."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel

from api.foresight import Foresight
from api.queue import Work
from api.shapes import Seconds
from services import words
from services.db.engine import Database
from services.queue import outlook, use


class UseNow(BaseModel):
    """What runs of an experiment, with what each stage uses; and how long all of it may still take.

    Attributes:
        time_left_seconds: null where nobody can say.
    """

    stages: list[Work]
    time_left_seconds: Seconds | None

    @property
    def seen(self) -> str:
        """What a reader sees of it: a moment that has passed is no news while it is worded alike."""
        stages = [each.model_dump_json(exclude={"time_left_seconds"}) for each in self.stages]
        lefts = [each.time_left_seconds for each in self.stages]
        return repr((stages, [_about(left) for left in (*lefts, self.time_left_seconds)]))


NOTHING = UseNow(stages=[], time_left_seconds=None)


def look(database: Database, foresight: Foresight, experiment_ids: Collection[str]) -> dict[str, UseNow]:
    """Return what each of some experiments uses now; nothing of one that was deleted meanwhile."""
    with database.transaction() as session:
        ahead = foresight.look(session)
        running = use.running_of(session, experiment_ids)
        left = outlook.of_experiments(session, ahead, experiment_ids)
    return {
        id_: UseNow(
            stages=[Work.of(each, ahead) for each in running.get(id_, ())],
            time_left_seconds=Seconds.of(left.get(id_)),
        )
        for id_ in experiment_ids
    }


def _about(left: Seconds | None) -> str:
    return "" if left is None else words.about(left.low, left.high)
