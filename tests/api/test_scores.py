"""Score files that users bring: three formats, one content; what is wrong with one is named."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from api import limits
from services.datasets.motion_shapes import CLASSES, MotionShapesParams, listed_clips
from services.scores import external
from services.scores.files import read_scores
from services.settings import Settings
from services.stores.artifacts import open_store
from tests.api.clients import client_of

LISTED = [(path.removesuffix(".avi"), label) for path, label in listed_clips(MotionShapesParams(), 1, "test")]
CLIPS = sorted(clip for clip, _ in LISTED)
LABELS = dict(LISTED)
ABOUT = {"dataset": "motion_shapes", "split": 1, "stream": "flow", "name": "elsewhere"}


def scores(seed: int = 0) -> np.ndarray:
    """Return probabilities of `CLIPS` and `CLASSES`."""
    found = np.random.default_rng(seed).random((len(CLIPS), len(CLASSES)))
    return found / found.sum(axis=1, keepdims=True)


def table(values: np.ndarray | None = None, clips: Any = CLIPS, classes: Any = CLASSES, **more: Any) -> dict[str, Any]:
    """Return columns by name, those of the classes last."""
    values = scores() if values is None else values
    return {"clip": list(clips), **more, **{name: values[:, at].tolist() for at, name in enumerate(classes)}}


def as_csv(columns: dict[str, Any]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return file.getvalue().encode()


def as_parquet(columns: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def as_npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **({"clips": np.array(CLIPS), "classes": np.array(CLASSES), "scores": scores()} | arrays))
    return file.getvalue()


def send(client: Any, content: bytes, **changes: Any) -> Any:
    return client.post("/scores", params=ABOUT | changes, content=content)


def error(answer: Any) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    [found] = answer.json()["errors"]
    return found


def test_one_content_in_three_formats_is_there_once(client: Any, settings: Settings) -> None:
    order = np.random.default_rng(1).permutation(len(CLIPS))
    shuffled = table(scores()[order], [CLIPS[row] for row in order], label=[LABELS[CLIPS[row]] for row in order])
    made = send(client, as_csv(shuffled), file_type="csv")
    assert made.status_code == 201, made.text
    found = made.json()
    assert made.headers["location"] == f"/scores/{found['id']}"
    described = {**ABOUT, "uploaded": True, "owner": "local", "clips": 112, "classes": 8, "kind": "probabilities"}
    assert found.items() >= described.items()
    assert "created_at" in found
    for file_type, content in (("parquet", as_parquet(table())), ("npz", as_npz()), ("csv", as_csv(table()))):
        again = send(client, content, file_type=file_type, name="again")
        assert (again.status_code, again.json()) == (200, found)
    assert client.get("/scores").json() == client.get("/scores?dataset=motion_shapes").json() == [found]
    assert client.get("/scores?dataset=other").json() == []
    assert client.get(f"/scores/{found['id']}").json() == found
    [folder] = (settings.home / "artifacts").rglob("output")
    stored = read_scores(open_store(settings).fetch(folder.relative_to(settings.home / "artifacts").as_posix()))
    assert (stored.clips, stored.classes, stored.streams) == (tuple(CLIPS), CLASSES, ("flow",))
    assert stored.truth.tolist() == [LABELS[clip] for clip in CLIPS]
    np.testing.assert_array_equal(stored.values, scores())


def test_float32_stays_and_logits_may_have_any_scale(client: Any) -> None:
    content = as_npz(scores=(100 * scores() - 50).astype(np.float32))
    assert send(client, content, file_type="npz", kind="logits").json()["kind"] == "logits"
    refused = error(send(client, content, file_type="npz"))
    assert refused["field"] == "scores"
    assert refused["value"] == f"no probabilities: {', '.join(CLIPS[:3])} and 109 more"
    assert refused["allowed"] == (
        "for each clip numbers from 0 to 1 that sum to 1; hint: kind=logits takes scores of any scale"
    )


EACH_ONCE = "each of the 112 test clips of split 1 of motion_shapes once"
ALL_CLASSES = "the 8 classes of motion_shapes, each once"
FEW = "no scores of BlueRed, SpinSlide, SlideSpin"
BAD = scores()
BAD[[0, 5]] = np.nan


@pytest.mark.parametrize(
    ("columns", "field", "value", "allowed"),
    [
        (table(scores()[4:], CLIPS[4:]), "clips", f"missing: {', '.join(CLIPS[:3])} and 1 more", EACH_ONCE),
        (table(scores()[2:], CLIPS[2:]), "clips", f"missing: {CLIPS[0]}, {CLIPS[1]}", EACH_ONCE),
        (table(clips=["Yo/yo", *CLIPS[1:]]), "clips", "unknown: Yo/yo", EACH_ONCE),
        (table(clips=[CLIPS[1], *CLIPS[1:]]), "clips", f"doubled: {CLIPS[1]}", EACH_ONCE),
        (table(scores()[:, :5], classes=CLASSES[:5]), "classes", FEW, ALL_CLASSES),
        (table(classes=("Yo", *CLASSES[1:])), "classes", "no class named Yo", ALL_CLASSES),
        (table(BAD), "scores", f"no finite numbers: {CLIPS[0]}, {CLIPS[5]}", "finite numbers"),
        (
            table(label=[CLASSES[LABELS[clip]] for clip in CLIPS[:-1]] + ["Yo"]),
            "labels",
            f"others: {CLIPS[-1]} (Yo)",
            "labels as the lists of motion_shapes have them: a class's name, or its number from 0",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("file_type", ["csv", "parquet"])
def test_what_the_lists_do_not_say_is_refused(
    client: Any, columns: dict[str, Any], field: str, value: str, allowed: str, file_type: str
) -> None:
    content = as_csv(columns) if file_type == "csv" else as_parquet(columns)
    assert error(send(client, content, file_type=file_type)) == {"field": field, "value": value, "allowed": allowed}
    assert client.get("/scores").json() == []


def twice(columns: dict[str, Any]) -> pyarrow.Table:
    """A table whose last class stands there twice."""
    arrays = [pyarrow.array(values) for values in columns.values()]
    return pyarrow.Table.from_arrays([*arrays, arrays[-1]], names=[*columns, [*columns][-1]])


def test_a_class_that_stands_there_twice_is_named_in_every_format(client: Any) -> None:
    file, columns = io.BytesIO(), table()
    pyarrow.parquet.write_table(twice(columns), file)
    lines = [line + b"," + line.split(b",")[-1] for line in as_csv(columns).splitlines()]
    double = {"classes": np.array([*CLASSES, CLASSES[-1]]), "scores": np.hstack([scores(), scores()[:, -1:]])}
    contents = {"parquet": file.getvalue(), "csv": b"\r\n".join(lines), "npz": as_npz(**double)}
    found = [error(send(client, content, file_type=file_type)) for file_type, content in contents.items()]
    assert found == [{"field": "classes", "value": f"two columns of {CLASSES[-1]}", "allowed": ALL_CLASSES}] * 3


PICKLE = np.array([{"a": 1}], dtype=object)


@pytest.mark.parametrize(
    ("file_type", "content", "value"),
    [
        ("csv", b"", "0 columns named 'clip'"),
        ("csv", b"clip,A\nx,1,2\n", "line 2 with 3 fields"),
        ("csv", b"clip,A\nx,much\n", "line 2: could not convert string to float: 'much'"),
        ("csv", b"clip,A\n\xff,1\n", "'utf-8' codec can't decode byte 0xff in position 7: invalid start byte"),
        ("csv", b"clip,clip,A\n", "2 columns named 'clip'"),
        ("csv", as_csv({"clip": range(225), "A": range(225)}), "more than 224 rows"),
        ("csv", as_csv({"clip": [], **{str(name): [] for name in range(17)}}), "17 columns of classes"),
        ("parquet", b"PAR1", "Parquet file size is 4 bytes"),
        ("parquet", as_parquet({"clip": ["x"] * 225, "A": [1.0] * 225}), "225 rows"),
        ("npz", b"PK", "File is not a zip file"),
        ("npz", as_npz(scores=PICKLE), "scores of objects"),
        ("npz", as_npz(clips=PICKLE), "clips of objects"),
        ("npz", as_npz(scores=np.zeros((1000, 8))), "scores of shape (1000, 8)"),
        ("npz", as_npz(scores=np.zeros((3, 8))), "scores of shape (3, 8) and type float64"),
        ("npz", as_npz(labels=np.zeros(3)), "labels of shape (3,)"),
        ("npz", as_npz(clips=np.arange(112)), "clips of type int64"),
        ("npz", as_npz(clips=np.array([b"\xff"] * 112)), "clips: 'utf-8' codec can't decode byte 0xff"),
        ("npz", as_npz(classes=np.array([b"\xff"] * 8)), "classes: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_what_is_no_such_file_is_refused(client: Any, file_type: str, content: bytes, value: str) -> None:
    found = error(send(client, content, file_type=file_type))
    assert found["field"] == "file"
    assert found["value"].startswith(value)


def test_an_archive_that_unpacks_to_more_than_it_may_is_refused_unread(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert external.MAX_MEMBER == 1 << 30
    monkeypatch.setattr(external, "MAX_MEMBER", 20_000)
    content = as_npz(clips=np.array(["x" * 1000] * 112))
    found = error(send(client, content, file_type="npz"))
    assert found["value"] == "clips of 448,128 bytes unpacked"


@pytest.mark.parametrize(
    ("changes", "field"), [({"dataset": "other"}, "dataset"), ({"split": 4}, "split"), ({"stream": "audio"}, "stream")]
)
def test_a_dataset_split_or_stream_that_is_not_there_is_422(client: Any, changes: dict[str, Any], field: str) -> None:
    assert error(send(client, as_csv(table()), **changes))["field"] == field


def test_lists_that_the_api_does_not_see_are_409(client: Any) -> None:
    body = {"name": "far", "root": "/nowhere/clips", "annotations": "/nowhere/lists"}
    assert client.post("/datasets", json=body).status_code == 201
    answer = send(client, as_csv(table()), dataset="far")
    assert answer.status_code == 409
    assert "does not see the folder of its lists, /nowhere/lists" in answer.json()["detail"]


@pytest.mark.parametrize("announced", [True, False])
def test_more_than_the_limit_is_413(settings: Settings, monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:
    assert limits.MAX_UPLOAD_BYTES == 200_000_000
    monkeypatch.setattr(limits, "MAX_UPLOAD_BYTES", 1_500_000)
    with client_of(settings) as client:
        content = bytes(1_500_001)
        answer = send(client, content if announced else iter([content[:1_000_000], content[1_000_000:]]))
        assert answer.status_code == 413
        assert answer.json()["detail"] == "a request body may have 1500000 bytes at the most"
        assert send(client, content[:-1]).status_code == 422  # larger than any other body may be
    assert list(settings.work.glob("*")) == []


def test_a_collection_of_the_cache_leaves_it(client: Any) -> None:
    made = send(client, as_csv(table())).json()
    gone = client.post("/cache/gc", json={"max_size": "0B", "kinds": ["scores"]})
    assert gone.status_code == 200, gone.text
    [entry] = [entry for entry in client.get("/cache").json()["entries"] if entry["key"] == made["id"]]
    assert entry["reason"] == "a user brought it"
