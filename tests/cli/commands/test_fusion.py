"""`twostream fusion sweep`: the curve of an ensemble's weights, what of the gain is tuning, and refusals in words."""

import json
import re

import pytest

from services.datasets.motion_shapes import CLASSES, MotionShapesParams, listed_clips

CLIPS = listed_clips(MotionShapesParams(), 1, "test")
RIGHT, WRONG = 0.8, 0.6
"""The share of the class that a system names, and of a wrong one where it errs: the right system is the surer one."""


def rows(right):
    """One line a clip: a system that is right where ``right`` says so, and else names the next class, less surely."""
    for place, (path, label) in enumerate(CLIPS):
        named, share = (label, RIGHT) if right(place) else ((label + 1) % len(CLASSES), WRONG)
        rest = (1 - share) / (len(CLASSES) - 1)
        yield ",".join([path, *(str(share if other == named else rest) for other in range(len(CLASSES)))])


@pytest.fixture
def ensemble(twostream, tmp_path):
    """Id of an ensemble of two score files, each right about the clips where the other one errs."""
    members = []
    for stream, rest in (("rgb", 0), ("flow", 1)):
        file = tmp_path / f"{stream}.csv"
        file.write_text("\n".join([",".join(("clip", *CLASSES)), *rows(lambda place, rest=rest: place % 2 == rest)]))
        code, out, err = twostream(
            "scores", "add", str(file), "--dataset", "motion_shapes", "--split", "1", "--stream", stream
        )
        assert code == 0, err
        members.append({"scores": [out.strip()]})
    spec = tmp_path / "ensemble.json"
    spec.write_text(json.dumps({"name": "both", "dataset": "motion_shapes", "splits": [1], "members": members}))
    code, out, err = twostream("submit", str(spec))
    assert code == 0, err
    return out.strip()


def test_a_curve_says_what_each_system_and_both_are_worth(twostream, ensemble):
    [found] = json.loads(twostream("fusion", "sweep", ensemble, "--json")[1])
    curve = {point["weight"]: point["top1"] for point in found["curve"]}
    assert (curve[0.0], curve[1.0], curve[0.5]) == (0.5, 0.5, 1.0)
    assert (found["declared"], found["equal"], found["gain_on_test"], found["tuning"]) == (1.0, 1.0, 0.0, 0.0)
    code, out, _ = twostream("fusion", "sweep", ensemble, "--member", "0", "--split", "1")
    assert code == 0
    assert re.match(r"split 1, seed 0, probabilities, weight of: uploaded rgb rgb, split 1\n", out)
    assert re.search(r"\b0\.50 +100\.0", out)
    assert re.search(r"\b1\.00 +50\.0", out)
    assert out.endswith("gain over equal weights on the test set: 0.00 points, of which 0.00 are tuning\n")


def test_what_cannot_be_swept_is_said_in_words(twostream, ensemble, submitted):
    code, _, err = twostream("fusion", "sweep", ensemble, "--member", "7")
    assert (code, "member: got 7, allowed: 0 to 1, or -1 for the last one" in err) == (2, True)
    assert twostream("fusion", "sweep", "exp_0")[0] == 3
    code, _, err = twostream("fusion", "sweep", submitted)
    assert (code, "its scores are not there; hint: wait for it" in err) == (4, True)
