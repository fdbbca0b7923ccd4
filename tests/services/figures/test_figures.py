"""Figures from what Postgres holds: which there are, what they show, and the same bytes again."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.figure import Figure

from services import figures
from services.db.engine import Database
from services.errors import InvalidRequest, NotFound
from services.figures import Choice
from services.figures.canvas import Drawing
from services.figures.classes import MOST_SHOWN, Bars
from services.figures.confusion import Confusion, by_confusion
from services.figures.learning import Learning
from services.figures.overlap import Overlap, Overlaps
from services.figures.trials import Axis, Contour, Importance, Point
from services.journal import curves
from services.queue import attempts
from services.queue.attempts import Fact
from services.queue.claim import Claim
from tests.services.conftest import Decreed, result, small_spec, submit
from tests.services.packed import answered

CLASSES = ["Jump", "Run $1$", "Walk"]


def finished(database: Database, said: Sequence[int] = (0, 2, 2, 1), splits: Sequence[int] = (1,), **changes) -> str:
    """Run an experiment that trains for three epochs and takes clips of classes 0, 1, 2, 2 for ``said``."""
    row = submit(database, small_spec(splits=tuple(splits), **changes)).row
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        if claim.kind == "train":
            learn(database, claim)
        if claim.kind == "fuse":
            worker.succeed(claim, **answered(result("rgb", claim.params["split"], 0), CLASSES, (0, 1, 2, 2), said))
        else:
            worker.succeed(claim)

    worker.run_all(end)
    return row.id


def learn(database: Database, claim: Claim, epochs: Sequence[int] = (1, 2, 3)) -> None:
    facts = [
        Fact("metrics", epoch, {"step": epoch, "values": {"train_loss": 1 / epoch, "train_accuracy": epoch / 4}})
        for epoch in epochs
    ]
    with database.transaction() as session:
        attempts.record(session, claim.key, claim.attempt, facts)


def prepared(database: Database, experiment_id: str, name: str, choice: Choice = Choice()):  # noqa: B008
    with database.transaction() as session:
        return figures.prepared(session, experiment_id, name, choice)


def reasons(database: Database, experiment_id: str) -> dict[str, str | None]:
    with database.transaction() as session:
        return {figure.name: reason for figure, reason in figures.listing(session, experiment_id)}


def test_a_new_experiment_says_what_it_waits_for(database: Database) -> None:
    row = submit(database, small_spec()).row
    found = reasons(database, row.id)
    assert found["learning"] == "no epoch has ended yet"
    assert "`fuse` stages have ended" in (found["confusion"] or "")
    with pytest.raises(NotFound, match=r"'confusion'.*fuse"):
        prepared(database, row.id, "confusion")


def test_a_finished_one_has_all_that_postgres_knows(database: Database) -> None:
    """`test_left.py` has those of what stages leave."""
    found = reasons(database, finished(database))
    assert {name for name, reason in found.items() if reason is None} == {
        *("learning", "confusion", "classes", "gain", "confusion-difference")
    }


def test_curves_come_from_postgres_and_epochs_told_twice_count_once(database: Database) -> None:
    row = submit(database, small_spec()).row
    worker = Decreed(database)
    worker.run_all(lambda claim: (learn(database, claim), learn(database, claim), worker.succeed(claim)))
    with database.transaction() as session:
        found = {curve.metric: curve for curve in curves.of_experiment(session, row.id) if "train" in curve.stage}
    assert found["train_loss"].epochs == (1, 2, 3)
    assert found["train_loss"].values == pytest.approx((1, 1 / 2, 1 / 3))


def test_confusion_is_normalised_by_the_true_class(database: Database) -> None:
    drawing = prepared(database, finished(database), "confusion")
    assert isinstance(drawing, Confusion)
    places = {name: place for place, name in enumerate(drawing.classes)}
    walked = drawing.shares[places["Walk"]]
    assert walked[places["Walk"]] == 50
    assert walked[places["Run $1$"]] == 50
    assert drawing.shares[places["Jump"]][places["Jump"]] == 100
    assert abs(places["Walk"] - places["Run $1$"]) == 1


def test_classes_taken_for_each_other_stand_side_by_side() -> None:
    shares = np.eye(6)
    for one, other in ((0, 5), (5, 2)):
        shares[one, other], shares[one, one] = 0.6, 0.4
    order = by_confusion(shares)
    assert sorted(order) == [*range(6)]
    assert order[:3] == [0, 5, 2]


def test_splits_add_up_unless_one_is_chosen(database: Database) -> None:
    experiment = finished(database, splits=(1, 2))
    assert prepared(database, experiment, "classes").title == "Accuracy by class, rgb, splits 1, 2"
    assert prepared(database, experiment, "classes", Choice(split=2)).title == "Accuracy by class, rgb, split 2"


def test_gain_is_ranked_over_a_baseline(database: Database) -> None:
    first = finished(database)
    better = finished(database, said=(0, 1, 2, 1), training={"epochs": 7})
    drawing = prepared(database, better, "gain", Choice(baseline=first))
    assert isinstance(drawing, Bars)
    assert (drawing.classes, drawing.values) == (("Run $1$", "Jump", "Walk"), (100, 0, 0))


def test_confusions_are_taken_off_in_points(database: Database) -> None:
    first = finished(database)
    better = finished(database, said=(0, 1, 2, 1), training={"epochs": 7})
    drawing = prepared(database, better, "confusion-difference", Choice(baseline=first))
    assert isinstance(drawing, Confusion)
    place = {name: at for at, name in enumerate(drawing.classes)}
    shares = {(true, said): drawing.shares[place[true]][place[said]] for true in CLASSES for said in CLASSES}
    assert {pair: share for pair, share in shares.items() if share} == {
        ("Run $1$", "Run $1$"): 100, ("Run $1$", "Walk"): -100,
    }  # fmt: skip
    assert drawing.signed
    back = prepared(database, first, "confusion-difference", Choice(baseline=better))
    assert isinstance(back, Confusion)
    assert back.classes == drawing.classes
    assert [[-share for share in row] for row in back.shares] == [list(row) for row in drawing.shares]
    none = prepared(database, first, "confusion-difference", Choice(baseline=first))
    for picture in (drawing, none):
        assert figures.render(picture, "svg").startswith(b"<?xml")


REFUSED = [
    ("confusion-difference", Choice(), "baseline", "the id of the experiment"),
    ("confusion", Choice(stream="flow"), "stream", "rgb"),
    ("confusion", Choice(split=3), "split", "1"),
    ("classes", Choice(seed=5), "seed", "0"),
    ("learning", Choice(split=2), "split", "1"),
    ("learning", Choice(stream="flow"), "stream", "rgb"),
    ("gain", Choice(), "baseline", "the id of the experiment"),
    ("confusion", Choice(baseline="exp_1"), "baseline", "none: confusion goes by stream, split, seed"),
]


def test_a_part_that_is_not_there_is_refused(database: Database) -> None:
    experiment = finished(database)
    for name, choice, field, allowed in REFUSED:
        with pytest.raises(InvalidRequest) as caught:
            prepared(database, experiment, name, choice)
        assert (caught.value.field, caught.value.allowed[: len(allowed)]) == (field, allowed)


def test_an_unknown_figure_names_those_that_there_are(database: Database) -> None:
    with pytest.raises(NotFound, match="one of learning, confusion, classes, gain, confusion-difference"):
        prepared(database, finished(database), "umap")


def test_the_same_data_draw_the_same_bytes(database: Database) -> None:
    experiment = finished(database)
    for name in ("learning", "confusion", "classes"):
        drawing = prepared(database, experiment, name)
        figures.render.cache_clear()
        first = {form: figures.render(drawing, form) for form in figures.FORMATS}
        figures.render.cache_clear()
        assert first == {form: figures.render(drawing, form) for form in figures.FORMATS}
        assert first["svg"].startswith(b"<?xml")
        assert b"<dc:date>" not in first["svg"]
        width, height = struct.unpack(">II", first["png"][16:24])
        assert min(width, height) > 200
        assert figures.render(drawing, "svg", "dark") != first["svg"]


def test_many_classes_are_drawn_within_bounds() -> None:
    names = tuple(f"Class{number:03}" for number in range(101))
    confused = Confusion("Confusion", names, tuple(tuple(map(float, row)) for row in 100 * np.eye(101)))
    assert figures.render(confused, "png").startswith(b"\x89PNG")
    bars = Bars("Gain", "%", names[:MOST_SHOWN], tuple(range(MOST_SHOWN, 0, -1)), omitted=41)
    assert bars.size[1] < 12
    assert Learning("none", ()).size[1] == 4


def test_dollars_in_a_name_are_dollars() -> None:
    bars = Bars(r"what $\frac{1$ costs", "$", ("$x^2$", "$"), (1.0, 2.0))
    assert "$x^2$" in figures.render(bars, "svg").decode()
    assert figures.render(bars, "png").startswith(b"\x89PNG")


LONG = ("A name of an experiment in many words, " * 3)[:80] + ", two-stream, splits 1, 2, 3"
NAMES = ("Class", "Class of people who do something rather long")


@pytest.mark.parametrize(
    "drawing",
    [
        Bars(LONG, "%", NAMES, (1.0, 2.0), omitted=41),
        Confusion(LONG, NAMES, ((100.0, 0.0), (0.0, 100.0))),
        Learning(LONG, ()),
        Overlaps(LONG, (("Recall", (Overlap("rgb", (0.1, 0.5), (1.0, 0.5)),)),)),
        Importance(LONG, (("model.hidden", 0.5),)),
        Contour(LONG, Axis("x"), Axis("y"), tuple(Point(n, n * n, 0.5, False) for n in range(3))),
    ],
    ids=lambda drawing: type(drawing).__name__,
)
def test_no_word_of_a_long_title_is_cut_off(drawing: Drawing) -> None:
    canvas = Figure(figsize=drawing.size)
    drawing.draw(canvas, "light")
    canvas.draw_without_rendering()
    words = [*canvas.texts, *(axes.title for axes in canvas.axes)]
    [title] = [each for each in words if LONG in each.get_text().replace("\n", " ")]
    place = title.get_window_extent()
    assert canvas.bbox.x0 <= place.x0
    assert place.x1 <= canvas.bbox.x1
    assert place.y1 <= canvas.bbox.y1
