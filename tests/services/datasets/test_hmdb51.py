from pathlib import Path

import pytest

from services.datasets.hmdb51 import read_hmdb51
from services.errors import DataError
from services.statistics.intervals import SplitRate, distinct_clips, effective_clips

OFFICIAL = Path(__file__).parents[4] / "shared/data/annotations/hmdb51"


@pytest.mark.data
@pytest.mark.skipif(not OFFICIAL.is_dir(), reason=f"no official lists at {OFFICIAL}")
def test_official_lists() -> None:
    annotations = read_hmdb51(OFFICIAL)
    assert len(annotations.classes) == 51
    assert annotations.classes == tuple(sorted(annotations.classes))
    for split in annotations.splits.values():
        assert (len(split.train), len(split.test)) == (3570, 1530)
        for label in range(51):
            assert sum(clip.label == label for clip in split.train) == 70
            assert sum(clip.label == label for clip in split.test) == 30


@pytest.mark.data
@pytest.mark.skipif(not OFFICIAL.is_dir(), reason=f"no official lists at {OFFICIAL}")
def test_the_official_test_sets_overlap() -> None:
    annotations = read_hmdb51(OFFICIAL)
    shared = annotations.shared_test_clips()
    tests = {number: sorted(clip.id for clip in split.test) for number, split in annotations.splits.items()}
    assert len(set().union(*tests.values())) == 4243
    assert [sum({one, other} <= places.keys() for places in shared) for one, other in ((1, 2), (1, 3), (2, 3))] == [
        104, 126, 155,
    ]  # fmt: skip
    assert all(len({tests[split][place] for split, place in places.items()}) == 1 for places in shared)
    sets = {split: SplitRate(0.5, 1530) for split in tests}
    assert distinct_clips(dict.fromkeys(tests, 1530), shared) == 4243
    assert effective_clips(sets, shared) == pytest.approx(3930.6, abs=0.1)


def write_lists(folder: Path, **rows: str) -> None:
    for name, text in rows.items():
        (folder / f"{name}.txt").write_text(text)


def test_codes_and_odd_names(tmp_path: Path) -> None:
    write_lists(
        tmp_path,
        wave_test_split1="a(b)!#[c]&+;~@.avi 1 \nx.avi\t0 \ny.avi 2 \n",
        brush_hair_test_split1="z.avi 2 \nw.avi 1 \n",
    )
    (tmp_path / "notes.txt").write_text("not a list")
    (tmp_path / "._wave_test_split1.txt").write_bytes(b"\xb0")  # beside each file, where macOS has copied them
    annotations = read_hmdb51(tmp_path)
    assert annotations.classes == ("brush_hair", "wave")
    split = annotations.splits[1]
    assert [(clip.path, clip.label) for clip in split.train] == [
        ("brush_hair/w.avi", 0),
        ("wave/a(b)!#[c]&+;~@.avi", 1),
    ]
    assert [clip.path for clip in split.unused] == ["wave/x.avi"]
    assert [(clip.path, clip.label) for clip in split.test] == [("brush_hair/z.avi", 0), ("wave/y.avi", 1)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"wave_test_split1": "a.avi 1\nb.avi 3\n"}, "wave_test_split1.txt:2: got 'b.avi 3'"),
        ({"wave_test_split1": "a.avi 1\na.avi 2\n"}, "wave_test_split1.txt:1 already"),
        ({"wave_test_split1": "a.avi 1\n"}, "split 1 has no clips to test"),
        (
            {"wave_test_split1": "a.avi 1\nb.avi 2\n", "run_test_split2": "c.avi 1\n"},
            "run_test_split1.txt: no such list",
        ),
        ({}, "no list named like"),
    ],
)
def test_bad_lists_are_named(tmp_path: Path, rows: dict[str, str], message: str) -> None:
    write_lists(tmp_path, **rows)
    with pytest.raises(DataError) as caught:
        read_hmdb51(tmp_path)
    assert message in str(caught.value)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such folder of lists"):
        read_hmdb51(tmp_path / "absent")
