"""What the parameters of stages allow, and the keys that versions before gave to work that took days."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.params import FrameSamples, FrameViews, Snippets, SnippetViews, SpacedFeatures
from services.planning.plan import plan
from services.specs import ExperimentSpec
from services.stages import KINDS, IndexParams

SPACED: dict[str, Any] = {"kind": "spaced_features"}
SNIPPETS = {"kind": "snippets", "length": 30}
FRAMES = {"kind": "frames", "stream": "rgb", "backbone": {"name": "tiny"}, "feature": "pool", "flow_stack": 10}
SAMPLES, VIEWS = {"snippets": 3, "augmentation": True}, {"frames": 25, "positions": 4, "crops": "ten"}


def params(kind: Any, seen: dict[str, Any]) -> Any:
    own: dict[str, Any] = {"training": {}} if kind == "train" else {"average": "logits"}
    common = {"split": 1, "streams": ["rgb"], "seed": 0, "model": {"kind": "tsn"}, "input": seen}
    return KINDS[kind].params.model_validate({**common, **own})


@pytest.mark.parametrize(
    ("kind", "seen", "expected"),
    [
        ("train", SPACED, SpacedFeatures),
        ("train", SNIPPETS, Snippets),
        ("train", {**FRAMES, **SAMPLES}, FrameSamples),
        ("score", SPACED, SpacedFeatures),
        ("score", {**SNIPPETS, "count": 25}, SnippetViews),
        ("score", {**FRAMES, **VIEWS}, FrameViews),
    ],
)
def test_a_network_sees_one_of_three_inputs_which_a_row_keeps(kind: str, seen: dict[str, Any], expected: type) -> None:
    found = params(kind, seen)
    assert type(found.input) is expected
    assert params(kind, found.model_dump(mode="json")["input"]) == found


@pytest.mark.parametrize(
    ("kind", "seen", "named"),
    [
        ("train", {}, "input"),
        ("train", {"kind": "video"}, "'spaced_features', 'snippets', 'frames'"),
        ("train", {**SPACED, "length": 30}, "length"),
        ("train", {"kind": "snippets"}, "length"),
        ("train", {**SNIPPETS, "augmentation": True}, "augmentation"),
        ("train", {**SNIPPETS, "count": 25}, "count"),
        ("train", {**FRAMES, **VIEWS}, "crops"),
        ("score", {**SPACED, "crops": "ten"}, "crops"),
        ("score", SNIPPETS, "count"),
        ("score", {**SNIPPETS, "count": 25, "positions": 4}, "positions"),
        ("score", {**FRAMES, **SAMPLES}, "augmentation"),
    ],
)
def test_what_does_not_go_together_is_refused(kind: str, seen: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        params(kind, seen)


KEYS = {
    "index ucf101": "b0da0303591fbf76883dd769dad111ea1d1d282c5904ade5416fdd8797fa2c0f",
    "flow brox, shard 2 of 2": "015afefe77338367d0ef9faf52d66fefffe8c7fc49f4338be92a6aefe9a20aa7",
    "finetune tiny rgb, split 1, seed 0": "d99632c3798055cc610c177a43ce94ba9f895facac669ebcc75168215314c650",
    "extract tiny rgb, split 1, seed 0": "151ff26be407f9401f99376205464c1c0014ba3e7c0fc6503b55caa9720815e1",
    "train ts_lstm rgb, split 1, seed 0": "f02ca2572989c2599c5a602e29ab6674a98e448f2d411b7bd9a6b2490c64a249",
    "score ts_lstm rgb, split 1, seed 0": "07979d70e39b31b27aad3091f5c00bb4b74cc60de7a4b88f0a7205f9e3e211d7",
}
END_TO_END = {
    "train tsn rgb end to end, split 1, seed 0": "a9fc8ba340205a37b33ec16998a7f969fbe073961602c21195b5799124b1388e",
    "score tsn rgb end to end, split 1, seed 0": "7c7cf9c7e5ad8136a8ff5c51bdaa6fbed9d7cce7ab2bd4ed6704935190432875",
}


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"backbone": {"name": "tiny"}, "flow": {"algorithm": "brox"}}, KEYS),
        ({"backbone": {"name": "tiny", "end_to_end": {}}, "model": {"kind": "tsn"}}, END_TO_END),
    ],
)
def test_work_that_is_done_is_found_again_by_its_key(changes: dict[str, Any], keys: dict[str, str]) -> None:
    spec = ExperimentSpec.model_validate({"dataset": "ucf101", "splits": [1], **changes})
    found = {stage.label: stage.key for stage in plan(spec, IndexParams(dataset="ucf101", root="/data"))}
    assert keys == {label: found[label] for label in keys}
