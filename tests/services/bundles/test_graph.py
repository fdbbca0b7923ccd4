"""The stages of a finished system as a bundle has them."""

from __future__ import annotations

from typing import Any

from services.bundles.graph import Bundler, Node
from services.stages import FuseMember
from tests.services.bundles.test_files import FUSE, PARAMS, SCORE, TRAIN

KEYS = {name: digit * 64 for name, digit in zip((TRAIN, SCORE, FUSE), "abc", strict=True)}


def node(name: str, params: Any, inputs: dict[str, str]) -> Node:
    kind: Any = name.partition("-")[0]
    return Node(KEYS[name], kind, name, params, inputs, "succeeded", f"{name}/output")


def test_members_of_an_ensemble_that_are_one_stage_each_keep_their_weight() -> None:
    members = tuple(FuseMember(name=f"member/{number}", weight=number + 1.0) for number in range(2))
    fused = PARAMS[FUSE].model_copy(update={"method": "probabilities", "weights": {}, "members": members})
    nodes = (
        node(TRAIN, PARAMS[TRAIN], {}),
        node(SCORE, PARAMS[SCORE], {"train": KEYS[TRAIN]}),
        node(FUSE, fused, {"member/0": KEYS[SCORE], "member/1": KEYS[SCORE]}),
    )
    bundler = Bundler({each.key: each for each in nodes})
    name = bundler.add(KEYS[FUSE])
    [score] = (stage.name for stage in bundler.stages.values() if stage.kind == "score")
    assert bundler.stages[name or ""].inputs == {"member/0": score, "member/1": score}
