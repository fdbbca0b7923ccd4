import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from services.errors import DataError
from worker.video.generated.motion_shapes import write_avi
from worker.video.survey.doctor import ExaminedFolders, examine
from worker.video.survey.files import clip_files

SHARED = Path(__file__).parents[5] / "shared/data"


@pytest.fixture
def folders(tmp_path: Path) -> ExaminedFolders:
    """Six listed clips: two equal, one broken, one missing; a group on both sides; and one clip in no list."""
    root, lists = tmp_path / "clips", tmp_path / "lists"
    names = ("v_A_g01_c01", "v_A_g01_c02", "v_A_g02_c01", "v_A_g03_c01", "v_A_g04_c01", "new")
    (root / "A").mkdir(parents=True)
    for number, name in enumerate(names):
        write_avi(root / f"A/{name}.avi", np.full((5 + number, 32, 48, 3), 99, np.uint8))
    (root / "A/v_A_g03_c01.avi").write_bytes((root / "A/v_A_g02_c01.avi").read_bytes())
    (root / "A/v_A_g04_c01.avi").write_bytes(b"broken")
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 A\n")
    (lists / "trainlist01.txt").write_text("".join(f"A/{name}.avi 1\n" for name in names[:3:2]))
    (lists / "testlist01.txt").write_text("".join(f"A/{name}.avi\n" for name in (names[1], *names[3:5], "gone")))
    return ExaminedFolders(root, lists, tmp_path / "state")


def test_every_finding(folders: ExaminedFolders) -> None:
    told: list[tuple[int, int]] = []
    report = examine(folders, "ucf101", "ucf101", 2, lambda done, total: told.append((done, total)))
    assert told[-1] == (5, 5)
    assert (report.classes, report.clips, report.present, report.frames) == (1, 6, 5, 5 + 6 + 7 + 7)
    assert report.missing == ("A/gone.avi",)
    assert report.surplus == ("A/new.avi",)
    assert report.duplicates == (("A/v_A_g02_c01.avi", "A/v_A_g03_c01.avi"),)
    assert list(report.undecodable) == ["A/v_A_g04_c01.avi"]
    assert "frame 0: Invalid data" in report.undecodable["A/v_A_g04_c01.avi"]
    assert report.leaks == ("split 1: group 1 of A is trained and tested on",)
    assert report.deviations is not None
    assert "clips: 6, official: 13320" in report.deviations
    assert (report.sizes, report.fps, report.codecs) == ({"48x32": 4}, {"25.00": 4}, {"mjpeg": 4})
    assert not report.healthy


def test_what_files_hold_beside_their_frames(folders: ExaminedFolders) -> None:
    path = folders.root / "A/v_A_g01_c01.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.sample_aspect_ratio = Fraction(12, 11)
        sound = container.add_stream("mp3", rate=44100)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 44100
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    report = examine(folders, "ucf101", None, 1, lambda done, total: None)
    assert report.differing == {"A/v_A_g01_c01.avi": "pixels of 12:11, read as square ones"}
    assert report.pixel_aspects == {"1:1": 3, "12:11": 1}
    assert report.pixel_formats == {"yuvj444p": 3, "yuv420p": 1}
    assert report.audio["none"] == 3
    (audio,) = report.audio.keys() - {"none"}
    assert audio.startswith("mp3")
    assert "44100 Hz" in audio
    assert (report.others, report.mirrored, report.turned) == ({}, 0, 0)


def test_surplus_behind_a_linked_folder_is_counted(folders: ExaminedFolders, tmp_path: Path) -> None:
    (folders.root / "A").rename(tmp_path / "elsewhere")
    (folders.root / "A").symlink_to(tmp_path / "elsewhere")
    report = examine(folders, "ucf101", None, 1, lambda done, total: None)
    assert report.surplus == ("A/new.avi",)


def test_a_link_that_leads_nowhere_is_a_missing_clip(folders: ExaminedFolders) -> None:
    (folders.root / "A/gone.avi").symlink_to("elsewhere.avi")
    report = examine(folders, "ucf101", None, 1, lambda done, total: None)
    assert (report.present, report.missing) == (5, ("A/gone.avi",))
    assert list(report.undecodable) == ["A/v_A_g04_c01.avi"]


def test_odd_names_are_found_and_worded(folders: ExaminedFolders) -> None:
    odd = [b"not \xff UTF-8.avi", b"new\nline.avi", "\u00fcmlaut.AVI".encode(), b".hidden.avi"]
    for name in odd:
        (folders.root / "A" / os.fsdecode(name)).touch()
    (folders.root / "A/folder.avi").mkdir()
    command = [
        sys.executable,
        "-m",
        "worker.video.survey.doctor",
        "--root",
        str(folders.root),
        "--state",
        str(folders.state),
    ]
    done = subprocess.run([*command, "--lists", str(folders.lists)], capture_output=True, check=True, timeout=240)
    surplus = json.loads(done.stdout.splitlines()[-1])["report"]["surplus"]
    assert surplus == ["A/new\nline.avi", "A/new.avi", "A/not \\xff UTF-8.avi", "A/\u00fcmlaut.AVI"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone: unreadable folder: No such file"):
        clip_files(tmp_path / "gone")


def test_it_runs_as_a_process_and_names_wrong_lists(folders: ExaminedFolders) -> None:
    command = [
        sys.executable,
        "-m",
        "worker.video.survey.doctor",
        "--root",
        str(folders.root),
        "--state",
        str(folders.state),
    ]
    done = subprocess.run([*command, "--lists", str(folders.lists)], capture_output=True, check=True, timeout=240)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-2] == {"done": 5, "total": 5}
    assert lines[-1]["report"]["deviations"] is None
    wrong = subprocess.run([*command, "--lists", "/nowhere"], capture_output=True, check=False, timeout=240)
    assert (wrong.returncode, wrong.stderr.decode()) == (2, "/nowhere: no such folder of lists\n")
    with pytest.raises(DataError, match="absent: no such folder of clips"):
        examine(folders._replace(root=folders.root / "absent"), "ucf101", None, 1, lambda *_: None)


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no genuine clips at {SHARED}")
def test_official_lists_with_the_genuine_clips(tmp_path: Path) -> None:
    folders = ExaminedFolders(SHARED / "clips/UCF-101", SHARED / "annotations/ucf101", tmp_path / "state")
    report = examine(folders, "ucf101", "ucf101", 2, lambda *_: None)
    assert report.deviations == ()
    assert report.leaks == ()
    assert (report.clips, report.present, len(report.missing)) == (13_320, 72, 13_320 - 72)
    assert (report.surplus, report.duplicates, report.undecodable) == ((), (), {})
    assert report.miscounted == {"YoYo/v_YoYo_g11_c04.avi": "declares 195, decodes 194"}
    assert report.sizes == {"320x240": 72}
    assert sum(report.fps.values()) == 72
    hmdb = folders._replace(lists=SHARED / "annotations/hmdb51")
    report = examine(hmdb, "hmdb51", "hmdb51", 1, lambda *_: None)
    assert (report.deviations, report.clips, report.present, len(report.missing)) == ((), 6_766, 0, 6_766)
