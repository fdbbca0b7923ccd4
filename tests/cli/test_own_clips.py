"""The demo on a user's own folder of clips: its lists, and its dataset's revisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.client import Client, CommandError
from cli.own_clips import OwnClips
from cli.target import Target
from services.datasets.layouts import read_annotations


def touch(folder: Path, name: str, count: int) -> None:
    (folder / name).mkdir(parents=True)
    for number in range(count):
        (folder / name / f"clip {number}.MP4").touch()


def test_one_clip_of_four_is_tested_on_and_one_at_least(tmp_path: Path) -> None:
    touch(tmp_path, "Jump", 9)
    touch(tmp_path, "Fall down", 2)
    (tmp_path / "Jump" / "notes.txt").touch()
    (tmp_path / ".hidden").mkdir()
    clips = OwnClips(tmp_path)
    lists = tmp_path / "lists"
    lists.mkdir()
    for file, text in clips.lists.items():
        (lists / file).write_text(text)
    found = read_annotations("ucf101", lists)
    assert found.classes == ("Fall down", "Jump")
    split = found.splits[1]
    assert [clip.path for clip in split.test] == ["Fall down/clip 1.MP4", "Jump/clip 3.MP4", "Jump/clip 7.MP4"]
    assert len(split.train) == 8


@pytest.mark.parametrize(
    ("classes", "found"),
    [({}, "0 classes"), ({"Jump": 3}, "1 class"), ({"Jump": 3, "Fall": 1}, "'Fall' with 1 clip")],
)
def test_a_folder_of_another_form_is_refused(tmp_path: Path, classes: dict[str, int], found: str) -> None:
    for name, count in classes.items():
        touch(tmp_path, name, count)
    with pytest.raises(CommandError, match=f"^--dataset: got {found} in .*, allowed: a folder with one folder a class"):
        OwnClips(tmp_path)
    with pytest.raises(CommandError, match=r"^--dataset: got '/nowhere/at/all', allowed: "):
        OwnClips(Path("/nowhere/at/all"))


def test_the_same_clips_are_registered_once_and_others_as_a_revision(tmp_path: Path, api: str) -> None:
    folder = tmp_path / "my clips"
    touch(folder, "Jump", 3)
    touch(folder, "Fall", 3)
    with Client(Target(api)) as client:
        for _ in range(2):
            clips = OwnClips(folder)
            clips.register(client, tmp_path / "home")
            assert client.get("/datasets/demo-my-clips")["revision"] == 1
        (folder / "Jump" / "more.avi").touch()
        clips = OwnClips(folder)
        clips.register(client, tmp_path / "home")
        for body in clips.submissions:
            assert client.post("/experiments", body)["state"] == "queued"
        assert client.get("/datasets/demo-my-clips")["revision"] == 2
