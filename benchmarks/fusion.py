"""How long does fusing two score files of UCF101's size take, against the bare NumPy sum of the two arrays?

Two files of 3,783 x 101 float64, rows in another order, are read, joined by clip id, fused by each rule, and written.
Beside it: the same from the JSON that versions before wrote.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import report
from services.scores.files import ABOUT, EARLIER_FILE, ScoreFile, read_scores, write_scores
from services.scores.fusion import aligned, fused_scores, log_softmax
from services.specs import Rule

CLIPS, CLASSES, ROUNDS = 3783, 101, 15
RULES: tuple[Rule, ...] = ("probabilities", "logits", "product")


def files(folder: Path) -> list[Path]:
    """Write two score files of logits, and the same as JSON."""
    rng = np.random.default_rng(0)
    names = [f"Class{row % CLASSES}/v_Class{row % CLASSES}_g{row % 25:02d}_c{row:04d}" for row in range(CLIPS)]
    found = []
    for stream, order in (("rgb", np.arange(CLIPS)), ("flow", rng.permutation(CLIPS))):
        scores = ScoreFile(
            dataset="ucf101",
            split=1,
            streams=(stream,),
            seed=0,
            classes=tuple(f"Class{label}" for label in range(CLASSES)),
            clips=tuple(names[row] for row in order),
            labels=order % CLASSES,
            scores=log_softmax(rng.normal(size=(CLIPS, CLASSES))),
            kind="logits",
        )
        for kind in ("npz", "json"):
            (folder / kind / stream).mkdir(parents=True)
        write_scores(folder / "npz" / stream, scores)
        about = {name: getattr(scores, name) for name in ABOUT}
        arrays = {name: getattr(scores, name).tolist() for name in ("labels", "scores")}
        earlier = about | arrays | {"classes": scores.classes, "clips": scores.clips}
        (folder / "json" / stream / EARLIER_FILE).write_text(json.dumps(earlier))
        found.append(folder / "npz" / stream)
    return found


def fuse(folder: Path, rule: Rule) -> None:
    inputs = [(stream, read_scores(folder / stream)) for stream in ("rgb", "flow")]
    systems = aligned(inputs)
    scores = fused_scores(systems, rule, (1.0, 1.5))
    write_scores(folder, ScoreFile(**{**vars(systems[0]), "scores": scores}))


def milliseconds(work: Callable[[], object]) -> list[float]:
    work()
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - began))
    return found


def main() -> None:
    """Run it."""
    print(report.machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rgb, flow = (read_scores(path).scores for path in files(folder))
        floor = milliseconds(lambda: 0.4 * rgb + 0.6 * flow)
        report.line("the bare NumPy sum (floor)", floor)
        for rule in RULES:
            found = milliseconds(lambda rule=rule: fuse(folder / "npz", rule))  # type: ignore[misc]
            report.line(f"read, join, fuse, write: {rule}", found, floor, "p50 <= 200 ms")
        report.line(
            "logits, from JSON of earlier versions", milliseconds(lambda: fuse(folder / "json", "logits")), floor
        )
        sizes = [sum(file.stat().st_size for file in (folder / kind / "rgb").iterdir()) for kind in ("npz", "json")]
        print(f"bytes of a file: npz {sizes[0]:,}, JSON {sizes[1]:,}")


if __name__ == "__main__":
    main()
