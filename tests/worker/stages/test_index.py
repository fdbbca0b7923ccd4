import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from services.datasets.motion_shapes import MotionShapesParams
from services.errors import DataError
from services.stages import IndexParams
from worker.contract import Reporter, Task
from worker.stages import index
from worker.video.generated.motion_shapes import write_avi
from worker.video.survey.manifest import Clip, read_manifest

SHARED = Path(__file__).parents[4] / "shared/data"


@pytest.fixture
def task(tmp_path: Path) -> Task:
    for name in ("output", "state"):
        (tmp_path / name).mkdir()
    return Task(
        key="k",
        kind="index",
        attempt=1,
        params={},
        inputs=(),
        output=tmp_path / "output",
        state=tmp_path / "state",
        events=tmp_path / "events",
        result=tmp_path / "result",
        data_root=tmp_path / "data",
        threads=1,
    )


@pytest.fixture
def report(task: Task) -> Iterator[Reporter]:
    reporter = Reporter(task.events)
    yield reporter
    reporter.close()


@pytest.fixture
def dataset(tmp_path: Path) -> IndexParams:
    """Two classes in UCF101's layout, named against the alphabet, and a surplus clip."""
    root, lists = tmp_path / "clips", tmp_path / "lists"
    lists.mkdir()
    for number, name in enumerate(
        ("Run/v_Run_g01_c01.avi", "Run/v_Run_g02_c01.avi", "Hop/v_Hop_g01_c02.AVI", "Hop/new.avi")
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_avi(root / name, np.full((5 + number, 32, 48, 3), 99, np.uint8))
    (lists / "classInd.txt").write_bytes(b"1 Run\r\n2 Hop\r\n")
    (lists / "trainlist01.txt").write_bytes(b"Run/v_Run_g02_c01.avi 1\r\nHop/v_Hop_g01_c02.AVI 2\r\n")
    (lists / "testlist01.txt").write_bytes(b"Run/v_Run_g01_c01.avi\r\n")
    return IndexParams(dataset="runhop", root=str(root), annotations=str(lists))


def listed(task: Task) -> tuple[Clip, ...]:
    return read_manifest(task.output).clips


def events(task: Task, kind: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in task.events.read_text().splitlines()]
    return [line["data"] for line in lines if line["type"] == kind]


def test_manifest_holds_what_the_lists_name(task: Task, report: Reporter, dataset: IndexParams) -> None:
    summary = index.run(task, dataset, report)
    counts = {"clips": 3, "classes": 2, "frames": 18, "surplus": 1, "excluded": 0, "shared": []}
    assert {name: summary[name] for name in counts} == counts
    assert summary["splits"] == {"1": {"train": 2, "test": 1}}
    assert (summary["groups"], summary["grouped_by"]) == (3, "numbers")
    assert summary["class_clips"] == [("Run", 2), ("Hop", 1)]
    assert (summary["sizes"], len(summary["rates"])) == ([("48 x 32", 3)], 1)
    assert summary["bytes"] == sum((Path(dataset.root) / clip.path).stat().st_size for clip in listed(task))
    manifest = read_manifest(task.output)
    assert manifest.dataset == "runhop"
    assert manifest.classes == ("Run", "Hop")
    assert manifest.root == Path(dataset.root)
    assert [(clip.id, clip.label, clip.group, clip.frames) for clip in manifest.clips] == [
        ("Hop/v_Hop_g01_c02", 1, 1, 7),
        ("Run/v_Run_g01_c01", 0, 1, 5),
        ("Run/v_Run_g02_c01", 0, 2, 6),
    ]
    clip = manifest.clips[0]
    assert (clip.path, clip.fps, clip.width, clip.height) == ("Hop/v_Hop_g01_c02.AVI", 25.0, 48, 32)
    assert clip.sha256 == hashlib.sha256((manifest.root / clip.path).read_bytes()).hexdigest()
    assert manifest.splits[1].train == ("Run/v_Run_g02_c01", "Hop/v_Hop_g01_c02")
    assert manifest.splits[1].test == ("Run/v_Run_g01_c01",)


def test_surplus_is_reported_and_no_error(task: Task, report: Reporter, dataset: IndexParams) -> None:
    index.run(task, dataset, report)
    assert read_manifest(task.output).surplus == ("Hop/new.avi",)
    (warning,) = events(task, "warning")
    assert "1 clip in" in str(warning["message"])
    assert "Hop/new.avi" in str(warning["message"])
    assert events(task, "progress")[-1] == {"done": 3, "total": 3, "unit": "clips", "message": ""}


def test_surplus_behind_a_linked_folder_of_a_class_is_counted(
    task: Task, report: Reporter, dataset: IndexParams, tmp_path: Path
) -> None:
    shutil.move(Path(dataset.root) / "Hop", tmp_path / "elsewhere")
    (Path(dataset.root) / "Hop").symlink_to(tmp_path / "elsewhere")
    assert index.run(task, dataset, report)["surplus"] == 1
    assert read_manifest(task.output).surplus == ("Hop/new.avi",)


def test_what_is_shown_otherwise_elsewhere_is_said_once_for_each_reason(
    task: Task, report: Reporter, dataset: IndexParams
) -> None:
    for name in ("Run/v_Run_g01_c01.avi", "Run/v_Run_g02_c01.avi"):
        with av.open(str(Path(dataset.root) / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            stream.sample_aspect_ratio = Fraction(12, 11)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="rgb24")))
            container.mux(stream.encode(None))
    (Path(dataset.root) / "Hop/new.avi").unlink()
    index.run(task, dataset, report)
    *_, warning = events(task, "warning")
    names = "Run/v_Run_g01_c01.avi, Run/v_Run_g02_c01.avi"
    assert str(warning["message"]).endswith(f"; 2 clips have pixels of 12:11, read as square ones: {names}")
    by_id = read_manifest(task.output).by_id
    assert by_id["Run/v_Run_g01_c01"].pixel_aspect == "12:11"
    assert (by_id["Hop/v_Hop_g01_c02"].pixel_aspect, by_id["Hop/v_Hop_g01_c02"].audio) == ("1:1", ())


def test_a_surplus_name_that_is_not_utf8_is_worded(task: Task, report: Reporter, dataset: IndexParams) -> None:
    (Path(dataset.root) / os.fsdecode(b"Hop/\xff.avi")).touch()
    index.run(task, dataset, report)
    assert read_manifest(task.output).surplus == ("Hop/\\xff.avi", "Hop/new.avi")


@pytest.mark.parametrize("dangling", [False, True])
def test_missing_clips_name_list_and_line(
    task: Task, report: Reporter, dataset: IndexParams, *, dangling: bool
) -> None:
    (Path(dataset.root) / "Run/v_Run_g02_c01.avi").unlink()
    if dangling:
        (Path(dataset.root) / "Run/v_Run_g02_c01.avi").symlink_to("elsewhere.avi")
    with pytest.raises(DataError) as caught:
        index.run(task, dataset, report)
    assert f"{dataset.annotations}/trainlist01.txt:1: " in str(caught.value)
    assert "Run/v_Run_g02_c01.avi does not exist" in str(caught.value)
    shutil.rmtree(Path(dataset.root) / "Hop")
    with pytest.raises(DataError, match="1 more are missing"):
        index.run(task, dataset, report)


def test_a_clip_that_does_not_decode_names_list_line_and_clip(
    task: Task, report: Reporter, dataset: IndexParams
) -> None:
    path = Path(dataset.root) / "Run/v_Run_g01_c01.avi"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError) as caught:
        index.run(task, dataset, report)
    assert f"{dataset.annotations}/testlist01.txt:1: {path}: frame " in str(caught.value)
    assert not (task.output / "manifest.json").exists()


@pytest.mark.parametrize("field", ["root", "annotations"])
def test_missing_folders_are_named(task: Task, report: Reporter, dataset: IndexParams, field: str) -> None:
    params = dataset.model_copy(update={field: "/nowhere/at/all"})
    with pytest.raises(DataError, match="/nowhere/at/all: no such folder"):
        index.run(task, params, report)


def test_hmdb51_layout_leaves_out_unused_clips(task: Task, report: Reporter, tmp_path: Path) -> None:
    root, lists = tmp_path / "clips", tmp_path / "lists"
    for number, name in enumerate(("a(b)!#[c]&+;~@.avi", "x.avi", "unused.avi", "new.avi")):
        (root / "wave").mkdir(parents=True, exist_ok=True)
        write_avi(root / "wave" / name, np.full((5 + number, 32, 48, 3), 99, np.uint8))
    lists.mkdir()
    (lists / "wave_test_split1.txt").write_text("a(b)!#[c]&+;~@.avi 1 \nx.avi 2 \nunused.avi 0 \n")
    params = IndexParams(dataset="hmdb", layout="hmdb51", root=str(root), annotations=str(lists))
    summary = index.run(task, params, report)
    assert [summary[name] for name in ("clips", "classes", "frames", "surplus")] == [2, 1, 11, 1]
    manifest = read_manifest(task.output)
    assert manifest.surplus == ("wave/new.avi",)
    assert manifest.splits[1].train == ("wave/a(b)!#[c]&+;~@",)
    assert (manifest.clips[0].group, manifest.clips[0].codec, manifest.clips[0].paired) == (None, "mjpeg", True)


def test_a_later_attempt_decodes_no_clip_again(
    task: Task, report: Reporter, dataset: IndexParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = index.run(task, dataset, report)
    manifest = read_manifest(task.output)
    monkeypatch.setattr("worker.video.survey.survey.Inspectors.inspect", None)  # any use of it fails
    assert index.run(task, dataset, report) == first
    assert read_manifest(task.output) == manifest


def _class_without_clips(params: IndexParams) -> IndexParams:
    (Path(params.annotations) / "classInd.txt").write_text("1 Run\n2 Hop\n3 Sit\n")
    return params


def _unknown_class(params: IndexParams) -> IndexParams:
    (Path(params.annotations) / "classInd.txt").write_text("1 Run\n2 Hope\n")
    return params


def _equal_ids(params: IndexParams) -> IndexParams:
    shutil.copy(Path(params.root) / "Run/v_Run_g01_c01.avi", Path(params.root) / "Run/v_Run_g01_c01.mkv")
    with (Path(params.annotations) / "testlist01.txt").open("a") as file:
        file.write("Run/v_Run_g01_c01.mkv\n")
    return params


def _missing_clip(params: IndexParams) -> IndexParams:
    (Path(params.root) / "Run/v_Run_g02_c01.avi").unlink()
    return params


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda params: params.model_copy(update={"splits": (1, 3)}), "no lists of split 3, which the dataset has"),
        (lambda params: params.model_copy(update={"exclude": ("Run/other.avi",)}), "no list names it"),
        (
            lambda params: params.model_copy(update={"exclude": ("Run/v_Run_g01_c01.avi",)}),
            "no clips to test but those",
        ),
        (_class_without_clips, "class 'Sit' has no clip"),
        (_unknown_class, "trainlist01.txt:2: .* is of class 'Hop', which classInd.txt does not have"),
        (_equal_ids, "differ in their extension only"),
        (_missing_clip, "trainlist01.txt:1: .* does not exist"),
    ],
)
def test_all_that_lists_say_is_checked_before_a_clip_is_decoded(
    task: Task,
    report: Reporter,
    dataset: IndexParams,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[IndexParams], IndexParams],
    message: str,
) -> None:
    monkeypatch.setattr("worker.video.survey.survey.Inspectors.inspect", None)  # any use of it fails otherwise
    with pytest.raises(DataError, match=message):
        index.run(task, change(dataset), report)


def test_named_clips_are_left_out(task: Task, report: Reporter, dataset: IndexParams) -> None:
    """A broken one among them fails nobody, and is no surplus."""
    (Path(dataset.root) / "Run/v_Run_g02_c01.avi").write_bytes(b"broken")
    less = dataset.model_copy(update={"exclude": ("Run/v_Run_g02_c01.avi",)})
    summary = index.run(task, less, report)
    assert (summary["clips"], summary["excluded"], summary["surplus"]) == (2, 1, 1)
    manifest = read_manifest(task.output)
    assert manifest.splits[1].train == ("Hop/v_Hop_g01_c02",)
    assert "Run/v_Run_g02_c01" not in manifest.by_id


def test_the_hash_of_the_data_follows_lists_and_clips(task: Task, report: Reporter, dataset: IndexParams) -> None:
    first = index.run(task, dataset, report)
    moved = Path(dataset.root).rename(Path(dataset.root).with_name("moved"))
    assert index.run(task, dataset.model_copy(update={"root": str(moved), "revision": 2}), report) == first
    dataset = dataset.model_copy(update={"root": str(moved)})
    less = index.run(task, dataset.model_copy(update={"exclude": ("Run/v_Run_g02_c01.avi",)}), report)
    write_avi(moved / "Run/v_Run_g02_c01.avi", np.full((6, 32, 48, 3), 98, np.uint8))
    other_clip = index.run(task, dataset, report)
    lists = Path(dataset.annotations)
    lists.joinpath("testlist01.txt").write_text("Run/v_Run_g01_c01.avi\nHop/new.avi\n")
    other_list = index.run(task, dataset, report)
    assert len({found["digest"] for found in (first, less, other_clip, other_list)}) == 4
    assert len({found["lists"] for found in (first, less, other_clip)}) == 1
    assert other_list["lists"] != first["lists"]


def test_clips_that_several_splits_test_on_are_told(task: Task, report: Reporter, dataset: IndexParams) -> None:
    lists = Path(dataset.annotations)
    lists.joinpath("trainlist02.txt").write_text("Run/v_Run_g02_c01.avi\nHop/v_Hop_g01_c02.AVI\n")
    lists.joinpath("testlist02.txt").write_text("Run/v_Run_g01_c01.avi\nHop/new.avi\n")
    assert index.run(task, dataset, report)["shared"] == [{"1": 0, "2": 1}]


def test_what_makes_numbers_doubtful_is_told(task: Task, report: Reporter, dataset: IndexParams) -> None:
    """Classes that a split lacks, scenes and copies on both sides of it: each is a premise of an accuracy."""
    root, lists = Path(dataset.root), Path(dataset.annotations)
    shutil.copy(root / "Run/v_Run_g02_c01.avi", root / "Run/v_Run_g02_c02.avi")
    lists.joinpath("testlist01.txt").write_text("Run/v_Run_g02_c02.avi\n")
    index.run(task, dataset, report)
    message = str(events(task, "warning")[-1]["message"])
    assert "split 1: 1 class has no clip to test: Hop" in message
    assert "split 1: group 2 of Run is trained and tested on" in message
    assert "split 1: 1 test clip is a copy of a training clip: Run/v_Run_g02_c02.avi" in message
    assert "stand in no list" in message


def test_a_training_clip_in_disguise_is_flagged_by_its_content(
    task: Task, report: Reporter, dataset: IndexParams
) -> None:
    """As a copy, a link, in another class, and with another extension: names tell of none of them."""
    root, lists = Path(dataset.root), Path(dataset.annotations)
    shutil.copy(root / "Run/v_Run_g02_c01.avi", root / "Run/v_Run_g07_c01.MP4")
    (root / "Hop/v_Hop_g08_c01.avi").symlink_to(root / "Run/v_Run_g02_c01.avi")
    tested = ["Run/v_Run_g01_c01.avi", "Run/v_Run_g07_c01.MP4", "Hop/v_Hop_g08_c01.avi"]
    lists.joinpath("testlist01.txt").write_text("\n".join(tested))
    summary = index.run(task, dataset.model_copy(update={"splits": (1,)}), report)
    [found] = summary["findings"]
    assert (found["code"], found["severity"], found["split"]) == ("copies_on_both_sides", "flagged", 1)
    assert found["sentence"] == f"split 1: 2 test clips are copies of training clips: {', '.join(tested[1:])}"


def test_a_group_on_both_sides_of_a_split_of_the_dataset_is_refused(
    task: Task, report: Reporter, dataset: IndexParams
) -> None:
    root, lists = Path(dataset.root), Path(dataset.annotations)
    shutil.copy(root / "Run/v_Run_g02_c01.avi", root / "Run/v_Run_g02_c02.avi")
    lists.joinpath("testlist01.txt").write_text("Run/v_Run_g02_c02.avi\n")
    with pytest.raises(DataError, match="split 1: group 2 of Run is trained and tested on"):
        index.run(task, dataset.model_copy(update={"splits": (1,)}), report)


def test_generated_dataset_is_made_first(task: Task, report: Reporter) -> None:
    generator = MotionShapesParams(clips_per_group=1, size=32, min_frames=28, max_frames=29)
    summary = index.run(task, IndexParams(dataset="motion_shapes", generator=generator), report)
    manifest = read_manifest(task.output)
    assert (summary["clips"], summary["classes"], summary["surplus"]) == (200, 8, 0)
    assert manifest.root.is_relative_to(task.data_root)
    assert {(clip.width, clip.height) for clip in manifest.clips} == {(32, 32)}
    for split in manifest.splits.values():
        assert (len(split.train), len(split.test)) == (144, 56)
    assert events(task, "progress")[0]["message"] == "generating"


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no genuine clips at {SHARED}")
def test_genuine_clips(task: Task, report: Reporter) -> None:
    root, lists = SHARED / "clips/UCF-101", SHARED / "annotations/ucf101-mini"
    summary = index.run(task, IndexParams(dataset="mini", root=str(root), annotations=str(lists)), report)
    assert summary["clips"] == 68
    assert summary["surplus"] == 4
    manifest = read_manifest(task.output)
    assert manifest.by_id["YoYo/v_YoYo_g11_c04"].frames == 194
    assert {number: (len(s.train), len(s.test)) for number, s in manifest.splits.items()} == {
        1: (47, 21),
        2: (46, 22),
        3: (43, 25),
    }
