import json
from pathlib import Path

import pytest

from worker.video.survey.manifest import Clip, Manifest, SplitIds, read_manifest


def test_a_manifest_reads_back_and_its_splits_keep_the_order_of_their_lists(
    tmp_path: Path, clips: tuple[Clip, Clip]
) -> None:
    manifest = Manifest(
        dataset="ab",
        root=tmp_path,
        classes=("A", "B"),
        clips=clips,
        splits={1: SplitIds(train=("B/b", "A/a"), test=()), 3: SplitIds(train=(), test=("A/a",))},
    )
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    assert set(json.loads((tmp_path / "manifest.json").read_text())["splits"]) == {"1", "3"}
    again = read_manifest(tmp_path)
    assert again == manifest
    assert [clip.id for clip in again.clips_of(1, "train")] == ["B/b", "A/a"]
    assert again.clips_of(3, "test") == (clips[0],)
    with pytest.raises(KeyError):
        again.clips_of(2, "train")
