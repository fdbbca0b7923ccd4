"""Fusion joins by clip id, follows the papers' rules, and refuses what does not match."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.datasets.official import CATEGORY_OF
from services.errors import DataError, UserError
from services.scores.files import ScoreFile, packed, read_scores, write_scores
from worker.contract import StageInput

CLASSES = ("A", "B", "C")
CLIPS = ("A/a", "B/b", "C/c")
RGB = [[0.65, 0.25, 0.1], [0.5, 0.4, 0.1], [0.2, 0.5, 0.3]]
FLOW = [[0.2, 0.5, 0.3], [0.1, 0.7, 0.2], [0.1, 0.1, 0.8]]


def params(method: str, rgb: float = 1.0, flow: float = 1.0) -> dict[str, Any]:
    return {"dataset": "d", "split": 2, "seed": 5, "method": method, "weights": {"rgb": rgb, "flow": flow}}


@pytest.fixture
def score_input(tmp_path: Path) -> Any:
    def write(*streams: str, scores: Any, kind: str = "probabilities", **changes: Any) -> StageInput:
        name = "+".join(streams)
        values: dict[str, Any] = {
            "dataset": "d", "split": 2, "streams": streams, "seed": 5, "classes": CLASSES, "clips": CLIPS,
            "labels": (0, 1, 2), "scores": scores, "kind": kind,
        }  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        arrays = {"labels": np.int32, "scores": np.float64}
        given = values | changes
        write_scores(folder, ScoreFile(**given | {key: np.array(given[key], dtype) for key, dtype in arrays.items()}))
        return StageInput(name=name, kind="score", key="1" * 64, path=folder)

    return write


def fused(finished: Any) -> np.ndarray:
    return read_scores(finished.output).values


def results(finished: Any) -> dict[str, dict[str, Any]]:
    return {entry["stream"]: entry for entry in json.loads((finished.output / "results.json").read_text())}


def test_two_streams_give_three_results(stages: Any, score_input: Any) -> None:
    inputs = (score_input("rgb", scores=RGB), score_input("flow", scores=FLOW))
    finished = stages.run("fuse", params("probabilities"), inputs)
    entries = results(finished)
    assert {stream: entry["metrics"]["top1"] for stream, entry in entries.items()} == pytest.approx(
        {"rgb": 1 / 3, "flow": 2 / 3, "two-stream": 1.0}
    )
    assert entries["flow"]["per_class"] == {"A": 0.0, "B": 1.0, "C": 1.0}
    assert entries["flow"]["split"] == 2
    assert entries["flow"]["seed"] == 5
    assert [entry["stream"] for entry in finished.summary["results"]] == ["rgb", "flow", "two-stream"]
    said = {"stream", "split", "seed", "metrics", "per_category", "predictions", "confidences"}
    assert set(finished.summary["results"][0]) == said
    assert finished.summary["results"][0]["per_category"] == {}


def numbers(packed: str) -> list[int]:
    return np.frombuffer(base64.b64decode(packed), "<u2").tolist()


def test_answers_are_told_in_the_order_of_ids(stages: Any, score_input: Any) -> None:
    clips, labels = ("b", "c", "a"), (0, 1, 2)
    given = score_input("rgb", scores=[[3, 2, 1], [3, 1, 2], [1, 2, 3]], clips=clips, labels=labels)
    summary = stages.run("fuse", params("probabilities"), (given,)).summary
    (entry,) = summary["results"]
    assert numbers(entry["predictions"]) == [2, 0, 0, 0, 0, 2]  # a and b are right, c comes last
    assert numbers(summary["truth"]["labels"]) == [2, 0, 1]
    assert summary["truth"]["classes"] == list(CLASSES)
    assert summary["truth"]["ids"] == ["a", "b", "c"]
    assert summary["truth"]["clips"] == hashlib.sha256(b"a\nb\nc").hexdigest()
    assert entry["metrics"]["correct"] == 2


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_confidences_are_probabilities_of_the_answers(stages: Any, score_input: Any, kind: str) -> None:
    scores = np.array([[0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [1.0001, 0.0, 0.0]])
    given = np.log(scores[:2]) + 5 if kind == "logits" else scores  # rounded rows may exceed 1
    clips, labels = CLIPS[: len(given)][::-1], (0, 1, 2)[: len(given)]
    rule = params("probabilities")
    (entry,) = stages.run(
        "fuse", rule, (score_input("rgb", scores=given, kind=kind, clips=clips, labels=labels),)
    ).summary["results"]
    expected = [0.4, 0.7] if kind == "logits" else [1.0, 0.4, 0.7]
    np.testing.assert_allclose(np.array(numbers(entry["confidences"])) / 65535, expected, atol=0.5 / 65535)


def test_answers_to_as_many_clips_as_ucf101_tests_on_take_fifteen_kilobytes(stages: Any, score_input: Any) -> None:
    clips = tuple(f"v_Class_g{number:04d}" for number in range(3783))
    labels = tuple(number % 3 for number in range(3783))
    given = score_input("rgb", scores=np.eye(3)[list(labels)].tolist(), clips=clips, labels=labels)
    (entry,) = stages.run("fuse", params("probabilities"), (given,)).summary["results"]
    assert len(base64.b64decode(entry["predictions"])) == 4 * 3783 < 15.2 * 1000


def test_the_classes_of_ucf101_have_categories(stages: Any, score_input: Any) -> None:
    names = sorted({*CATEGORY_OF, *(f"Sport{number}" for number in range(50))})
    labels = tuple(names.index(name) for name in ("Haircut", "YoYo", "Typing", "Sport7"))
    scores = np.eye(101)[[labels[0], labels[1], labels[0], labels[3]]]
    clips = ("a", "b", "c", "d")
    given = score_input("rgb", scores=scores.tolist(), classes=tuple(names), clips=clips, labels=labels)
    finished = stages.run("fuse", params("probabilities"), (given,))
    expected = {"Human-Human Interaction": 1.0, "Human-Object Interaction": 0.5, "Sports": 1.0}
    assert results(finished)["rgb"]["per_category"] == expected
    assert finished.summary["results"][0]["per_category"] == expected


def test_probabilities_are_averaged_by_weight(stages: Any, score_input: Any) -> None:
    inputs = (score_input("rgb", scores=RGB), score_input("flow", scores=FLOW))
    finished = stages.run("fuse", params("probabilities", rgb=1, flow=3), inputs)
    np.testing.assert_allclose(fused(finished), (np.array(RGB) + 3 * np.array(FLOW)) / 4)
    assert read_scores(finished.output).streams == ("rgb", "flow")


def test_logits_are_averaged_by_weight(stages: Any, score_input: Any) -> None:
    rgb, flow = np.array([[3.0, 1, 0]] * 3), np.array([[0.0, 2, -4]] * 3)
    inputs = (score_input("rgb", scores=rgb, kind="logits"), score_input("flow", scores=flow, kind="logits"))
    finished = stages.run("fuse", params("logits", rgb=1, flow=1.5), inputs)  # 1 : 1.5 as TSN
    np.testing.assert_allclose(fused(finished), (rgb + 1.5 * flow) / 2.5)
    assert read_scores(finished.output).kind == "logits"


def test_the_product_multiplies_probabilities(stages: Any, score_input: Any) -> None:
    inputs = (score_input("rgb", scores=RGB), score_input("flow", scores=FLOW))
    product = np.array(RGB) * np.array(FLOW) ** 2
    finished = stages.run("fuse", params("product", flow=2), inputs)
    np.testing.assert_allclose(fused(finished), product / product.sum(axis=1, keepdims=True))


def test_logits_become_probabilities_where_those_are_fused(stages: Any, score_input: Any) -> None:
    inputs = (score_input("rgb", scores=np.log(RGB) + 7, kind="logits"), score_input("flow", scores=FLOW))
    finished = stages.run("fuse", params("probabilities"), inputs)
    np.testing.assert_allclose(fused(finished), (np.array(RGB) + np.array(FLOW)) / 2)


def test_a_probability_of_zero_survives_the_product(stages: Any, score_input: Any) -> None:
    sure = [[1.0, 0.0, 0.0]] * 3
    inputs = (score_input("rgb", scores=sure), score_input("flow", scores=FLOW))
    values = fused(stages.run("fuse", params("product"), inputs))
    np.testing.assert_allclose(values, sure, atol=1e-12)


def test_probabilities_have_no_logits(stages: Any, score_input: Any) -> None:
    inputs = (score_input("rgb", scores=RGB), score_input("flow", scores=FLOW))
    with pytest.raises(
        UserError, match=r"got 'logits' for rgb scores that are probabilities.*hint: evaluation\.average"
    ):
        stages.run("fuse", params("logits"), inputs)


def test_weights_of_zero_are_refused(stages: Any, score_input: Any) -> None:
    inputs = (score_input("rgb", scores=RGB), score_input("flow", scores=FLOW))
    with pytest.raises(UserError, match="allowed: at least one above 0"):
        stages.run("fuse", params("probabilities", rgb=0, flow=0), inputs)


@pytest.mark.parametrize(("streams", "stream"), [(("rgb",), "rgb"), (("rgb", "flow"), "two-stream")])
def test_one_score_file_passes_as_it_is(stages: Any, score_input: Any, streams: Any, stream: str) -> None:
    entry = score_input(*streams, scores=RGB)
    finished = stages.run("fuse", params("features"), (entry,))
    assert list(results(finished)) == [stream]
    assert packed(read_scores(finished.output)) == packed(read_scores(entry.path))


def test_a_network_of_rgb_that_flow_steers_is_one_of_rgb(stages: Any, score_input: Any) -> None:
    finished = stages.run(
        "fuse",
        {**params("features"), "weights": {"rgb": 1.0}},
        (score_input("rgb", "flow", scores=RGB),),
    )
    assert [entry["stream"] for entry in finished.summary["results"]] == ["rgb"]


def test_a_network_that_sees_both_stands_for_rgb_beside_one_of_flow(stages: Any, score_input: Any) -> None:
    inputs = (score_input("rgb", "flow", scores=RGB), score_input("flow", scores=FLOW))
    finished = stages.run("fuse", params("probabilities", rgb=3, flow=1), inputs)
    assert [entry["stream"] for entry in finished.summary["results"]] == ["rgb", "flow", "two-stream"]
    fused = read_scores(finished.output)
    assert fused.streams == ("rgb", "flow")
    np.testing.assert_allclose(fused.values, (3 * np.array(RGB) + np.array(FLOW)) / 4)


def test_rows_are_joined_by_clip_id(stages: Any, score_input: Any) -> None:
    shuffled = {"clips": CLIPS[::-1], "labels": (2, 1, 0), "scores": FLOW[::-1]}
    inputs = (score_input("rgb", scores=RGB), score_input("flow", **shuffled))
    finished = stages.run("fuse", params("probabilities"), inputs)
    np.testing.assert_allclose(fused(finished), (np.array(RGB) + np.array(FLOW)) / 2)
    assert read_scores(finished.output).clips == CLIPS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": (0, 2, 2)}, r"flow/scores\.npz: clip B/b has label 2, .*rgb/scores\.npz says 1"),
        ({"clips": ("A/a", "B/b", "C/d")}, r"flow/scores\.npz: no scores of clip C/c"),
        ({"classes": ("A", "B", "X")}, "the classes differ"),
    ],
)
def test_other_labels_clips_or_classes_are_refused(
    stages: Any, score_input: Any, change: dict[str, Any], message: str
) -> None:
    inputs = (score_input("rgb", scores=RGB), score_input("flow", scores=FLOW, **change))
    with pytest.raises(DataError, match=message):
        stages.run("fuse", params("probabilities"), inputs)
