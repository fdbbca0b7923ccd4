from pathlib import Path

import pytest

from services.datasets.ucf101 import read_ucf101
from services.errors import DataError

OFFICIAL = Path(__file__).parents[4] / "shared/data/annotations/ucf101"
COUNTS = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    write(tmp_path / "classInd.txt", "1 Hammering", "2 HammerThrow", "3 HandstandPushups")
    write(
        tmp_path / "trainlist01.txt", "Hammering/v_Hammering_g08_c01.avi 1", "HammerThrow/v_HammerThrow_g08_c01.avi 2"
    )
    write(tmp_path / "testlist01.txt", "HandstandPushups/v_HandStandPushups_g01_c01.avi")
    return tmp_path


def write(file: Path, *lines: str, end: str = "\r\n") -> None:
    file.write_bytes("".join(line + end for line in lines).encode())


@pytest.mark.data
@pytest.mark.skipif(not OFFICIAL.is_dir(), reason=f"no official lists at {OFFICIAL}")
def test_official_lists() -> None:
    annotations = read_ucf101(OFFICIAL)
    assert len(annotations.classes) == 101
    assert len(annotations.clips()) == 13_320
    assert {n: (len(split.train), len(split.test)) for n, split in annotations.splits.items()} == COUNTS
    names = annotations.classes
    assert names[34:36] == ("Hammering", "HammerThrow")
    assert names[46:48] == ("JumpingJack", "JumpRope")
    assert names[36] == "HandstandPushups"
    assert names == tuple(sorted(names, key=str.lower)) != tuple(sorted(names))


@pytest.mark.data
@pytest.mark.skipif(not OFFICIAL.is_dir(), reason=f"no official lists at {OFFICIAL}")
def test_official_class_is_the_folder_not_the_file_name() -> None:
    clips = [clip for clip in read_ucf101(OFFICIAL).clips() if "v_HandStandPushups" in clip.path]
    assert len(clips) == 128
    assert {clip.label for clip in clips} == {36}


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_labels_follow_the_class_list_and_the_folder(lists: Path, end: str) -> None:
    for file in lists.iterdir():
        write(file, *file.read_text().splitlines(), end=end)
    annotations = read_ucf101(lists)
    assert annotations.classes == ("Hammering", "HammerThrow", "HandstandPushups")
    split = annotations.splits[1]
    assert [(clip.path, clip.label) for clip in (*split.train, *split.test)] == [
        ("Hammering/v_Hammering_g08_c01.avi", 0),
        ("HammerThrow/v_HammerThrow_g08_c01.avi", 1),
        ("HandstandPushups/v_HandStandPushups_g01_c01.avi", 2),
    ]


def test_class_list_is_ordered_by_its_numbers(lists: Path) -> None:
    write(lists / "classInd.txt", "3 HandstandPushups", "1 Hammering", "2 HammerThrow")
    assert read_ucf101(lists).classes == ("Hammering", "HammerThrow", "HandstandPushups")


def test_lines_keep_their_place_and_blank_ones_are_skipped(lists: Path) -> None:
    write(lists / "testlist01.txt", "", "Hammering/a b.avi", "   ")
    (clip,) = read_ucf101(lists).splits[1].test
    assert clip.path == "Hammering/a b.avi"
    assert str(clip.line) == f"{lists / 'testlist01.txt'}:2"


def test_columns_may_stand_apart_by_tabs(lists: Path) -> None:
    write(lists / "classInd.txt", "1\tHammering", "2  HammerThrow", "3\tHandstandPushups")
    write(lists / "trainlist01.txt", "Hammering/a b.avi\t1", "HammerThrow/c 7.avi  2")
    annotations = read_ucf101(lists)
    assert annotations.classes == ("Hammering", "HammerThrow", "HandstandPushups")
    assert [clip.path for clip in annotations.splits[1].train] == ["Hammering/a b.avi", "HammerThrow/c 7.avi"]


def test_splits_without_lists_are_left_out(lists: Path) -> None:
    write(lists / "trainlist03.txt", "Hammering/x.avi 1")
    write(lists / "testlist03.txt", "Hammering/y.avi")
    assert list(read_ucf101(lists).splits) == [1, 3]


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("trainlist01.txt", "Hammering/x.avi 2", "label 2, but class 'Hammering' is number 1"),
        ("trainlist01.txt", "Juggling/x.avi 1", "of class 'Juggling', which classInd.txt does not have"),
        ("trainlist01.txt", "../etc/passwd", "got '../etc/passwd', allowed: '<class>/<clip>'"),
        ("testlist01.txt", "x.avi", "got 'x.avi', allowed: '<class>/<clip>'"),
        ("testlist01.txt", "Hammering/v_Hammering_g08_c01.avi", "trainlist01.txt:1 already"),
        ("classInd.txt", "Hammering", "allowed: '<number> <class>'"),
        ("classInd.txt", "3 Hammering", "repeats a number or class"),
    ],
)
def test_bad_lines_are_named(lists: Path, file: str, line: str, message: str) -> None:
    existing = (lists / file).read_text().splitlines()
    write(lists / file, *existing, line)
    with pytest.raises(DataError) as caught:
        read_ucf101(lists)
    assert f"{file}:{len(existing) + 1}: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("classInd.txt", b"", "no classes"),
        ("classInd.txt", b"1 Hammering\n3 HammerThrow\n", "got the numbers [1, 3], allowed: 1 to 2"),
        ("trainlist01.txt", b"\r\n", "no clips"),
        ("trainlist01.txt", b"\xff\xfe\x00", "unreadable"),
        ("trainlist02.txt", b"Hammering/x.avi 1\n", "testlist02.txt: no such list"),
    ],
)
def test_bad_files_are_named(lists: Path, file: str, content: bytes, message: str) -> None:
    (lists / file).write_bytes(content)
    with pytest.raises(DataError, match=r"\.txt") as caught:
        read_ucf101(lists)
    assert message in str(caught.value)


def test_missing_files_are_named(lists: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such folder of lists"):
        read_ucf101(tmp_path / "absent")
    for name in ("trainlist01.txt", "testlist01.txt"):
        (lists / name).unlink()
    with pytest.raises(DataError, match="no list of any split"):
        read_ucf101(lists)
    (lists / "classInd.txt").unlink()
    with pytest.raises(DataError, match=r"classInd\.txt: no such list"):
        read_ucf101(lists)
