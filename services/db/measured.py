"""The tables of measured numbers: how they were measured, what they are, and what was said of each clip.

A result is one stream of an experiment on a split with a seed, or a mean of such. Its numbers are rows of their own,
one a metric, so that a metric is no column. `ProtocolRow`, `TruthRow` and `PredictionRow` go by the SHA-256 of what
they hold: equal content is there once, and is never changed;
the ids of a test set, which its hash of them stands for, may be added.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, Json


class ProtocolRow(Base):
    """How numbers are measured: fields, by which it is known, and a line for people, as it was worded first."""

    __tablename__ = "protocol"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    fields: Mapped[Json]
    line: Mapped[str]


class ExperimentStreamRow(Base):
    """How each stream of an experiment is measured, and with which kind of network, as it was when submitted."""

    __tablename__ = "experiment_stream"

    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True)
    stream: Mapped[str] = mapped_column(String(20), primary_key=True)
    protocol: Mapped[str] = mapped_column(ForeignKey("protocol.digest"))
    model: Mapped[str] = mapped_column(String(40))
    source: Mapped[str] = mapped_column(String(20), server_default="experiment")
    uploaded: Mapped[bool] = mapped_column(server_default="false")

    __table_args__ = (Index("ix_experiment_stream_model", "model", "experiment_id"),)


class TruthRow(Base):
    """The right answers of a test set: names of the classes, and a label for each clip, in the order of their ids.

    ``labels`` are numbers of 16 bits, the lower byte first. ``clips`` is the SHA-256 of the ids, and ``ids`` are those,
    a line each; None where no stage has said them since they are kept.
    """

    __tablename__ = "truth"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    classes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    labels: Mapped[bytes] = mapped_column(LargeBinary)
    clips: Mapped[str] = mapped_column(String(64))
    ids: Mapped[str | None]


class PredictionRow(Base):
    """The answers of a system to a test set, in the order of the clips' ids.

    ``answers`` has two numbers of 16 bits for each clip, the lower byte first: the predicted label, and how many
    classes stand before the true one. ``confidences`` has the probability of each predicted label, in units of
    1/65,535, likewise; None where the stage is older than they are.
    """

    __tablename__ = "prediction"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    truth: Mapped[str] = mapped_column(ForeignKey("truth.digest"))
    answers: Mapped[bytes] = mapped_column(LargeBinary)
    confidences: Mapped[bytes | None] = mapped_column(LargeBinary)


class ResultRow(Base):
    """What one stream of an experiment was measured as: on a split with a seed, or as a mean.

    A row without a seed is the mean over seeds and is what gets ranked; one without a split is the mean over the
    dataset's splits, which has no values, and whose ``missing_splits`` are named, until every split is there. Rows of
    one ``revision`` of the dataset were measured on the same lists and clips; ``excluded`` clips were left out.
    ``source`` is ``experiment`` or ``ensemble``, and ``uploaded`` says that scores of it were computed elsewhere.
    The board ranks no ``withdrawn`` one.
    ``box_protocol`` is how its metrics of boxes were measured, where it has any.
    """

    __tablename__ = "result"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiment.id", ondelete="CASCADE"))
    dataset: Mapped[str] = mapped_column(String(100))
    revision: Mapped[int] = mapped_column(server_default="1")
    stream: Mapped[str] = mapped_column(String(20))
    split: Mapped[int | None] = mapped_column(SmallInteger)
    seed: Mapped[int | None]
    protocol: Mapped[str] = mapped_column(ForeignKey("protocol.digest"))
    box_protocol: Mapped[str | None] = mapped_column(ForeignKey("protocol.digest"))
    model: Mapped[str] = mapped_column(String(40))
    source: Mapped[str] = mapped_column(String(20), server_default="experiment")
    uploaded: Mapped[bool] = mapped_column(server_default="false")
    withdrawn: Mapped[bool] = mapped_column(server_default="false")
    name: Mapped[str] = mapped_column(String(200))
    clips: Mapped[int | None]
    excluded: Mapped[int] = mapped_column(server_default="0")
    seeds: Mapped[int] = mapped_column(server_default="1")
    missing_splits: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger), server_default=text("'{}'"))
    categories: Mapped[Json | None]
    prediction: Mapped[str | None] = mapped_column(ForeignKey("prediction.digest"))
    stage_key: Mapped[str | None] = mapped_column(ForeignKey("stage.key"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

    __table_args__ = (
        UniqueConstraint("experiment_id", "stream", "split", "seed", postgresql_nulls_not_distinct=True),
        Index(
            "ix_result_incomplete",
            "dataset",
            "stream",
            "revision",
            "protocol",
            "id",
            postgresql_where=text("missing_splits <> '{}' AND NOT withdrawn"),
        ),
        Index("ix_result_withdrawn", "dataset", "stream", "revision", postgresql_where=text("withdrawn")),
        Index(
            "ix_result_incomplete_boxes",
            "dataset",
            "stream",
            "revision",
            "box_protocol",
            "id",
            postgresql_where=text("missing_splits <> '{}' AND box_protocol IS NOT NULL"),
        ),
    )


class ResultValueRow(Base):
    """One metric of a result.

    ``spread`` is the sample deviation over seeds, ``lower`` and ``upper`` bound the 95 % interval. A value that is
    ranked repeats what its board is known by (``split`` 0 is the mean), and by what its entries are filtered, for an
    index; that of one seed has none of it, nor has one that is withdrawn. ``source`` is ``trained``, ``ensemble`` or
    ``uploaded``.
    """

    __tablename__ = "result_value"

    result_id: Mapped[int] = mapped_column(ForeignKey("result.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[float]
    merit: Mapped[float]
    """The value, or its negative where lower is better: one order for all boards."""
    spread: Mapped[float | None]
    lower: Mapped[float | None]
    upper: Mapped[float | None]
    dataset: Mapped[str | None] = mapped_column(String(100))
    stream: Mapped[str | None] = mapped_column(String(20))
    split: Mapped[int | None] = mapped_column(SmallInteger)
    revision: Mapped[int | None]
    protocol: Mapped[str | None] = mapped_column(String(64))
    model: Mapped[str | None] = mapped_column(String(40))
    source: Mapped[str | None] = mapped_column(String(20))
    seeds: Mapped[int | None]

    __table_args__ = (
        Index(
            "ix_result_value_board",
            "dataset",
            "stream",
            "split",
            "metric",
            "revision",
            "protocol",
            text("merit DESC"),
            "result_id",
            "model",
            "source",
            "seeds",
            postgresql_where=text("dataset IS NOT NULL"),
        ),
    )


class ResultHitsRow(Base):
    """Of a result that is ranked: which test clips were right, for paired tests between the entries of a board.

    There is a row for each number of highest scores ``within`` which a label counts as right. ``bits`` are packed, one
    a clip, for each of the ``seeds`` in turn; a mean over splits has the clips of all, each once. Rows of one ``truth``
    speak of the same clips in the same order.
    """

    __tablename__ = "result_hits"

    result_id: Mapped[int] = mapped_column(ForeignKey("result.id", ondelete="CASCADE"), primary_key=True)
    within: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    truth: Mapped[str] = mapped_column(String(64))
    seeds: Mapped[int] = mapped_column(SmallInteger)
    bits: Mapped[bytes] = mapped_column(LargeBinary)


class BoardVersionRow(Base):
    """A value that a transaction replaces by another if it changes what any board of a dataset shows.

    Triggers do that (`services/db/migrations/versions/0040_boards_without.py`), as it commits and once each:
    ``transaction`` is the last one that did, ``number`` counts them in the order in which they committed, and ``whole``
    is the last number at which all of a dataset's boards may have changed, or something of them was deleted.
    """

    __tablename__ = "board_version"

    dataset: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[uuid.UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    transaction: Mapped[int] = mapped_column(BigInteger)
    number: Mapped[int] = mapped_column(BigInteger, server_default="0")
    whole: Mapped[int] = mapped_column(BigInteger, server_default="0")


class BoardChangeRow(Base):
    """The number of its dataset's boards at which an experiment last changed what they show of it; written likewise."""

    __tablename__ = "board_change"

    experiment_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    dataset: Mapped[str] = mapped_column(String(100))
    number: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_board_change_number", "dataset", "number"),)
