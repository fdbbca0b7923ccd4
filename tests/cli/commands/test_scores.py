"""`twostream scores`: a file is brought, listed, refused in words."""

import json

from services.datasets.motion_shapes import CLASSES, MotionShapesParams, listed_clips

CLIPS = [path for path, _ in listed_clips(MotionShapesParams(), 1, "test")]
ABOUT = ("--dataset", "motion_shapes", "--split", "1", "--stream", "flow")


def test_a_file_is_brought_and_listed(twostream, tmp_path):
    assert twostream("scores", "list") == (0, "score files: none\n", "")
    file = tmp_path / "idt.csv"
    lines = [f"{clip}{',3' * len(CLASSES)}" for clip in CLIPS]
    file.write_text("\n".join([",".join(("clip", *CLASSES)), *lines]))
    code, out, _ = twostream("scores", "add", str(file), *ABOUT, "--logits")
    assert (code, len(out.strip())) == (0, 64)
    [found] = json.loads(twostream("scores", "list", "--json")[1])
    assert (found["id"], found["name"], found["kind"]) == (out.strip(), "idt", "logits")
    assert "idt" in twostream("scores", "list")[1]
    file.write_text("\n".join([",".join(("clip", *CLASSES)), *lines[1:]]))
    code, _, err = twostream("scores", "add", str(file), *ABOUT, "--logits")
    assert code == 2
    assert f"clips: got 'missing: {CLIPS[0].removesuffix('.avi')}'" in err
    assert "a name that ends in .csv, .parquet, .npz" in twostream("scores", "add", "x.txt", *ABOUT)[2]
