"""Figures from what stages have left: which there are and why not, what they show, and the same bytes again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services import figures
from services.db.engine import Database
from services.errors import Conflict, InvalidRequest, NotFound
from services.figures import Choice
from services.figures.attention import Attention, relative
from services.figures.embedding import MOST_NAMED, Scatter, placed
from services.figures.flow import Flow, colours, legend, wheel
from services.figures.images import Raster, film
from services.figures.memory import Memory
from services.figures.tubes import Tubes, overlap
from services.stores.folder import FolderStore
from tests.services.conftest import small_spec, submit
from tests.services.pictured import CLIPS, HEIGHT, STEPS, WIDTH, Leaver

ATTENDS = {"model": {"kind": "conv_alstm"}, "evaluation": {"localization": {}}}
MEMORY = {"model": {"kind": "memory"}}
BOTH = {"streams": ("rgb", "flow"), "fusion": {"method": "probabilities"}}
LEFT = ("tsne", "pca", "memory", "attention", "tubes", "flow")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


@pytest.fixture
def left(database: Database, store: FolderStore, tmp_path: Path) -> Any:
    """Run an experiment whose stages leave something; return its id."""

    def run(*, pictures: bool = True, **changes: Any) -> str:
        row = submit(database, small_spec(**changes)).row
        Leaver(database, store, tmp_path / "made", pictures=pictures).run_all()
        return row.id

    return run


@pytest.fixture
def shown(database: Database, store: FolderStore) -> Any:
    """Return a figure that is ready to be drawn."""

    def read(experiment: str, name: str, **choice: Any) -> Any:
        with database.transaction() as session:
            found = figures.prepared(session, experiment, name, Choice(**choice))
        return figures.loaded(found, store)

    return read


def reasons(database: Database, experiment: str) -> dict[str, str | None]:
    with database.transaction() as session:
        return {figure.name: reason for figure, reason in figures.listing(session, experiment) if figure.name in LEFT}


def test_a_network_that_has_no_such_thing_names_those_that_have(database: Database, left: Any, shown: Any) -> None:
    experiment = left()
    found = reasons(database, experiment)
    assert found["tsne"] is None
    assert found["attention"] == (
        "no network of this experiment attends (ts_lstm); those that do: alstm, conv_alstm, motion_alstm, video_lstm"
    )
    assert found["memory"] == "no network of this experiment writes to a memory (ts_lstm); those that do: memory"
    assert "evaluation.localization" in (found["tubes"] or "")
    assert "a flow stream" in (found["flow"] or "")
    with pytest.raises(NotFound, match="those that do: memory"):
        shown(experiment, "memory")


def test_each_is_there_where_its_network_is(database: Database, left: Any) -> None:
    assert [name for name, reason in reasons(database, left(**ATTENDS, **BOTH)).items() if not reason] == [
        "tsne", "pca", "attention", "tubes", "flow",
    ]  # fmt: skip
    experiment = left(**MEMORY)
    assert [name for name, reason in reasons(database, experiment).items() if not reason] == ["tsne", "pca", "memory"]
    with database.transaction() as session:
        clips = figures.clips(session, experiment)
    assert clips == {"memory": CLIPS[:2], "attention": (), "tubes": (), "flow": ()}


def test_what_was_scored_before_says_how_to_get_it(database: Database, left: Any) -> None:
    experiment = left(pictures=False, **MEMORY)
    for name in ("tsne", "memory"):
        assert reasons(database, experiment)[name] == (
            "it was scored by a version that left no pictures; "
            f"`twostream clone {experiment} --set evaluation.pictures=9` scores it again, with the same weights"
        )


def test_another_number_of_pictures_scores_again_and_trains_nothing(database: Database, left: Any) -> None:
    left(**MEMORY)
    again = submit(database, small_spec(**MEMORY, evaluation={"pictures": 9})).row
    assert again.total_stages - again.reused_stages == 2  # score and fuse


def test_before_a_stage_has_ended_it_says_so(database: Database) -> None:
    experiment = submit(database, small_spec(**MEMORY)).row.id
    assert reasons(database, experiment)["memory"] == "its `score` stage has not ended"


def test_points_are_of_all_test_clips_and_keep_classes_together(left: Any, shown: Any) -> None:
    experiment = left()
    for name in ("pca", "tsne"):
        drawing = shown(experiment, name)
        assert isinstance(drawing, Scatter)
        points, labels = drawing.points.values, np.array(drawing.labels)
        assert points.shape == (len(CLIPS), 2)
        nearest = [
            np.delete(np.arange(len(labels)), at)[
                np.linalg.norm(np.delete(points, at, 0) - points[at], axis=1).argmin()
            ]
            for at in range(len(labels))
        ]
        assert (labels[nearest] == labels).mean() > 0.7
    assert "ts_lstm on rgb, split 1, seed 0" in drawing.title


def test_places_of_equal_embeddings_are_equal() -> None:
    values = Raster.of(np.random.default_rng(0).standard_normal((40, 5)).astype(np.float16))
    for method in ("pca", "tsne"):
        first = placed(method, values)
        placed.cache_clear()
        assert placed(method, values) == first
        assert not placed(method, Raster.of(np.ones((5, 1), np.float16))).values.any()
        assert placed(method, Raster.of(np.arange(5, dtype=np.float16)[:, None])).shape == (5, 2)


def test_many_classes_are_named_where_their_clips_are() -> None:
    names = tuple(f"Class{number}" for number in range(MOST_NAMED + 1))
    points = Raster.of(np.random.default_rng(0).standard_normal((len(names), 2)).astype(np.float32))
    drawing = Scatter("Many", names, tuple(range(len(names))), points)
    assert b"<svg" in figures.render(drawing, "svg")


def test_memory_writes_are_those_of_the_clip(left: Any, shown: Any) -> None:
    experiment = left(**MEMORY)
    drawing = shown(experiment, "memory")
    assert isinstance(drawing, Memory)
    assert drawing.writes == (False, True, False, True)
    assert drawing.probability == pytest.approx((0.1, 0.7, 0.4, 0.9), abs=1e-3)
    assert (drawing.threshold, len(drawing.images)) == (0.5, STEPS)
    assert drawing.title.startswith(f"{CLIPS[0]}: 2 of 4 steps written")
    without = shown(experiment, "memory", clip=CLIPS[5].rpartition("/")[2])
    assert (without.images, without.title.partition(":")[0]) == ((), CLIPS[5])


def test_attention_lies_where_the_network_looked(left: Any, shown: Any) -> None:
    drawing = shown(left(**ATTENDS), "attention")
    assert isinstance(drawing, Attention)
    assert drawing.frames == (0, 2, 4, 6)
    laid = drawing._laid(0).astype(int)
    tall, wide = laid.shape[:2]
    assert (tall, wide) == (224, round(224 * WIDTH / HEIGHT))
    plain = drawing._laid(3).astype(int)
    column = round((10 + 10) / WIDTH * wide)  # the middle of the first of three columns of the region
    changed = np.abs(laid - plain).sum(-1)
    assert changed[tall // 2, column] > 150
    assert changed[5, wide - 5] < 30
    assert relative(np.full((2, 2), 0.25)).tolist() == [[0, 0], [0, 0]]


def test_the_film_has_a_frame_for_each_step_and_the_same_bytes(left: Any, shown: Any) -> None:
    drawing = shown(left(**ATTENDS), "attention")
    content = figures.filmed(drawing)
    opened = Image.open(io.BytesIO(content))
    assert (opened.format, opened.n_frames, opened.size[1]) == ("WEBP", STEPS, 224)
    film.cache_clear()
    assert figures.filmed(drawing) == content


def test_only_what_moves_is_filmed(left: Any, shown: Any) -> None:
    with pytest.raises(InvalidRequest, match="form: got 'webp', allowed: svg or png"):
        figures.filmed(shown(left(**MEMORY), "memory"))


def test_tubes_stand_beside_the_true_ones(left: Any, shown: Any) -> None:
    drawing = shown(left(**ATTENDS), "tubes")
    assert isinstance(drawing, Tubes)
    assert drawing.frames == (0, 2, 4, 6)
    assert drawing.found == ((10, 10, 30, 30),) * 4
    assert drawing.true == ((), ((20, 10, 40, 30),), ((20, 10, 40, 30),), ())
    assert drawing._words(1) == "frame 2, IoU 0.33"
    assert drawing.known
    assert overlap((0, 0, 2, 2), (5, 5, 6, 6)) == 0
    assert not shown(left(**ATTENDS), "tubes", clip=CLIPS[1]).known


def test_flow_to_the_right_is_red(left: Any, shown: Any) -> None:
    drawing = shown(left(**BOTH), "flow")
    assert isinstance(drawing, Flow)
    assert (drawing.frames, drawing.unit) == ((0, 5), "pixels a frame")
    assert drawing.fastest == 3
    red, green, blue = drawing.colours.values[0, 30, 40].tolist()
    assert red > 200
    assert max(green, blue) < 40


def test_the_wheel_is_middleburys() -> None:
    """55 colours; white where nothing moves; what is faster than the rim is darkened."""
    assert wheel().shape == (55, 3)
    assert wheel()[[0, 15, 21]].tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    minus_zero = colours(np.array([[[1.0]], [[-0.0]]]), 1.0)
    assert minus_zero.tolist() == colours(np.array([[[1.0]], [[0.0]]]), 1.0).tolist() == [[[255, 0, 0]]]
    still = colours(np.zeros((2, 1, 1)), 1.0)
    assert still.tolist() == [[[255, 255, 255]]]
    fast = colours(np.array([[[9.0]], [[0.0]]]), 1.0)
    assert fast[0, 0, 0] == int(255 * 0.75)
    assert legend()[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("name", LEFT)
def test_the_same_run_draws_the_same_bytes(left: Any, shown: Any, name: str) -> None:
    experiment = left(**BOTH, **(MEMORY if name == "memory" else ATTENDS))
    drawn = []
    for _ in range(2):
        figures.render.cache_clear()
        placed.cache_clear()
        drawing = shown(experiment, name)
        drawn.append({form: figures.render(drawing, form) for form in figures.FORMATS})
    assert drawn[0] == drawn[1]
    assert figures.render(drawing, "png", "dark") != drawn[0]["png"]
    image = Image.open(io.BytesIO(drawn[0]["png"]))
    assert min(image.size) > 200


REFUSED = [
    ("attention", {"clip": "nobody"}, "clip", CLIPS[0]),
    ("tubes", {"clip": CLIPS[7]}, "clip", CLIPS[0]),
    ("flow", {"clip": CLIPS[0]}, "clip", CLIPS[1]),
    ("flow", {"split": 1}, "split", "none: flow goes by clip"),
    ("tsne", {"split": 3}, "split", "1"),
    ("tsne", {"stream": "two-stream"}, "stream", "flow, rgb"),
    ("pca", {"clip": CLIPS[0]}, "clip", "none: pca goes by stream, split, seed"),
    ("attention", {"seed": 4}, "seed", "0"),
]


def test_a_part_that_is_not_there_is_refused(left: Any, shown: Any) -> None:
    experiment = left(**ATTENDS, **BOTH)
    for name, choice, field, allowed in REFUSED:
        with pytest.raises(InvalidRequest) as caught:
            shown(experiment, name, **choice)
        assert (caught.value.field, caught.value.allowed[: len(allowed)]) == (field, allowed), name


def test_a_file_that_has_gone_is_a_conflict(left: Any, shown: Any, tmp_path: Path) -> None:
    experiment = left(**MEMORY)
    for file in (tmp_path / "artifacts").rglob("pictures.npz"):
        file.unlink()
    with pytest.raises(Conflict, match=r"pictures\.npz"):
        shown(experiment, "memory")
