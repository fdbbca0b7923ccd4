"""Every refusal of score files and ensembles with its exact words, which `docs/scores.md` repeats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from api import limits
from services.settings import Settings
from tests.api.clients import client_of
from tests.api.test_scores import ABOUT, CLASSES, CLIPS, LABELS, as_csv, as_npz, scores, send, table

PAGE = (Path(__file__).parents[2] / "docs" / "scores.md").read_text()
NOT_FINITE, INFINITE, NEGATIVE = scores(), scores(), scores()
NOT_FINITE[[0, 5]], INFINITE[3, 2], NEGATIVE[0, 0] = np.nan, np.inf, -1
ONCE = "allowed: each of the 112 test clips of split 1 of motion_shapes once"
ALL_CLASSES = "allowed: the 8 classes of motion_shapes, each once"
FIRST = ", ".join(CLIPS[:3])

FILES: list[tuple[str, dict[str, Any], bytes, str]] = [
    ("a missing clip", {}, as_csv(table(scores()[2:], CLIPS[2:])),
     f"clips: got 'missing: {CLIPS[0]}, {CLIPS[1]}', {ONCE}"),
    ("several missing clips", {}, as_csv(table(scores()[4:], CLIPS[4:])),
     f"clips: got 'missing: {FIRST} and 1 more', {ONCE}"),
    ("a doubled clip", {}, as_csv(table(clips=[CLIPS[1], *CLIPS[1:]])), f"clips: got 'doubled: {CLIPS[1]}', {ONCE}"),
    ("an unknown clip", {}, as_csv(table(clips=["Yo/yo", *CLIPS[1:]])), f"clips: got 'unknown: Yo/yo', {ONCE}"),
    ("another label", {}, as_csv(table(label=[CLASSES[LABELS[clip]] for clip in CLIPS[:-1]] + ["Yo"])),
     f"labels: got 'others: {CLIPS[-1]} (Yo)', allowed: labels as the lists of motion_shapes have them: a class's name,"
     " or its number from 0"),
    ("no number", {}, as_csv(table(NOT_FINITE)),
     f"scores: got 'no finite numbers: {CLIPS[0]}, {CLIPS[5]}', allowed: finite numbers"),
    ("an infinite one", {}, as_csv(table(INFINITE)),
     f"scores: got 'no finite numbers: {CLIPS[3]}', allowed: finite numbers"),
    ("no probabilities", {}, as_csv(table(NEGATIVE)),
     f"scores: got 'no probabilities: {CLIPS[0]}', allowed: for each clip numbers from 0 to 1 that sum to 1; hint:"
     " kind=logits takes scores of any scale"),
    ("too few classes", {}, as_csv(table(scores()[:, :5], classes=CLASSES[:5])),
     f"classes: got 'no scores of BlueRed, SpinSlide, SlideSpin', {ALL_CLASSES}"),
    ("an unknown class", {}, as_csv(table(classes=("Yo", *CLASSES[1:]))),
     f"classes: got 'no class named Yo', {ALL_CLASSES}"),
    ("a doubled class", {"file_type": "npz"}, as_npz(classes=np.array([*CLASSES[:-1], CLASSES[0]])),
     f"classes: got 'two columns of SlideLeft', {ALL_CLASSES}"),
    ("too many classes", {}, as_csv({"clip": [], **{str(name): [] for name in range(17)}}),
     "file: got '17 columns of classes', allowed: 1 to 16"),
    ("too many rows", {}, as_csv({"clip": range(225), "A": range(225)}),
     "file: got 'more than 224 rows', allowed: at most 224, twice the test clips of the split"),
    ("an empty file", {}, b"", "file: got \"0 columns named 'clip'\", allowed: one"),
    ("a line of another length", {}, b"clip,A\nx,1,2\n",
     "file: got 'line 2 with 3 fields', allowed: 2, as the first line has"),
    ("a score that is no number", {}, b"clip,A\nx,much\n",
     'file: got "line 2: could not convert string to float: \'much\'", allowed: a number for each class'),
    ("an array of another shape", {"file_type": "npz"}, as_npz(scores=np.zeros((3, 8))),
     "file: got 'scores of shape (3, 8) and type float64', allowed: numbers (112, 8)"),
    ("labels of another shape", {"file_type": "npz"}, as_npz(labels=np.zeros(3)),
     "file: got 'labels of shape (3,)', allowed: (112,)"),
    ("an archive without scores", {"file_type": "npz"}, b"PK\x05\x06" + bytes(18),
     "file: got \"no array 'classes'\", allowed: clips, classes, scores, and labels if there are any"),
    ("a pickle", {"file_type": "npz"}, as_npz(scores=np.array([{"a": 1}], dtype=object)),
     "file: got 'scores of objects', allowed: numbers or text; pickles are not read"),
    ("a format that it is not", {"file_type": "npz"}, as_csv(table()),
     "file: got 'File is not a zip file', allowed: an npz archive of plain arrays; pickles are not read"),
    ("a format that nobody knows", {"file_type": "xlsx"}, b"",
     "file_type: got 'xlsx', allowed: one of csv, parquet or npz"),
    ("a split that is not there", {"split": 4}, b"", "split: got '4', allowed: less than or equal to 3"),
    ("a dataset that is not there", {"dataset": "other"}, b"", "dataset: got 'other', allowed: motion_shapes"),
]  # fmt: skip


def said(answer: Any) -> str:
    """Return the only error of an answer in words."""
    assert answer.status_code == 422, answer.text
    [found] = answer.json()["errors"]
    return f"{found['field']}: got {found['value']!r}, allowed: {found['allowed']}"


def test_a_score_file_that_is_wrong_is_refused_in_these_words(client: Any) -> None:
    """All in one test: they share an API, and each is a request."""
    found = {name: said(send(client, content, **(ABOUT | changes))) for name, changes, content, _ in FILES}
    assert found == {name: words for name, _, _, words in FILES}
    assert client.get("/scores").json() == []


def test_a_file_of_more_than_200_mb_is_refused_in_these_words(settings: Settings, monkeypatch: Any) -> None:
    assert limits.MAX_UPLOAD_BYTES == 200_000_000
    monkeypatch.setattr(limits, "MAX_UPLOAD_BYTES", 1_500_000)
    with client_of(settings) as client:
        answer = send(client, bytes(1_500_001))
    assert (answer.status_code, answer.json()["detail"]) == (413, "a request body may have 1500000 bytes at the most")


Members = Callable[[dict[str, str]], list[dict[str, Any]]]
NOBODY = "exp_0123456789"
ENSEMBLES: list[tuple[str, Members, dict[str, Any], str]] = [
    ("one member that trains", lambda ids: [{"experiment": ids["alone"], "stream": "rgb"}], {},
     "members: got 1, allowed: 2 to 16, or one that is score files"),
    ("weights that are all 0", lambda ids: [{"scores": [ids["first"]], "weight": 0}], {"method": "probabilities"},
     "members.0.weight: got 0.0, allowed: above 0 for one member at the least"),
    ("an unknown experiment", lambda _: [{"experiment": NOBODY, "stream": "rgb"}], {},
     f"members.0.experiment: got '{NOBODY}', allowed: an experiment on motion_shapes that is no ensemble"),
    ("a stream without scores", lambda ids: [{"experiment": ids["alone"], "stream": "flow"}], {},
     "members.0.stream: got 'flow', allowed: a stream of which ALONE has scores of its own"),
    ("a split that a member lacks", lambda ids: [{"experiment": ids["alone"], "stream": "rgb"}], {"splits": [1, 2]},
     "members.0.experiment: got 'ALONE', allowed: one with split 2 and seed 0"),
    ("a seed that a member lacks", lambda ids: [{"experiment": ids["alone"], "stream": "rgb"}], {"seeds": [3]},
     "members.0.experiment: got 'ALONE', allowed: one with split 1 and seed 3"),
    ("a stream that a recipe lacks", lambda _: [{"recipe": "video_lstm_ucf101", "stream": "audio"}], {},
     "members.0.stream: got 'audio', allowed: one of rgb, flow, two-stream"),
    ("an unknown score file", lambda _: [{"scores": ["0" * 64]}], {},
     f"members.0.scores.0: got '{'0' * 64}', allowed: a score file of motion_shapes"),
    ("two score files of one split", lambda ids: [{"scores": [ids["first"], ids["second"]]}], {},
     "members.0.scores.1: got 'SECOND', allowed: one score file of split 1"),
    ("no score file of a split", lambda ids: [{"scores": [ids["first"]]}], {"splits": [1, 2]},
     "members.0.scores: got ['FIRST'], allowed: a score file of split 2 too"),
]  # fmt: skip


def test_an_ensemble_that_cannot_be_is_refused_in_these_words(client: Any, submit: Any) -> None:
    ids = {"alone": submit()["id"]}
    for name, seed in (("first", 0), ("second", 1)):
        ids[name] = send(client, as_npz(scores=scores(seed)), file_type="npz").json()["id"]
    body = {"name": "both", "dataset": "motion_shapes", "splits": [1], "method": "product"}
    found = {}
    for name, members, changes, _ in ENSEMBLES:
        given = members(ids)
        if name != "one member that trains" and "scores" not in given[0]:
            given.append({"scores": [ids["first"]]})
        words = said(client.post("/experiments", json=body | changes | {"members": given}))
        for short, id_ in ids.items():
            words = words.replace(id_, short.upper())
        found[name] = words
    assert found == {name: words for name, _, _, words in ENSEMBLES}


def test_the_page_repeats_each_of_them() -> None:
    listed = [*((name, words) for name, *_, words in FILES), *((name, words) for name, *_, words in ENSEMBLES)]
    missing = [f"| {name} | `{words}` |" for name, words in listed if f"| {name} | `{words}` |" not in PAGE]
    assert missing == []
