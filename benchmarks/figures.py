"""How long does a picture take, against the bare drawing by Matplotlib of the same numbers?

A confusion of 101 classes, as SVG and PNG, beside ``imshow`` of the matrix with the same names at its sides; then t-SNE
of 1,000 clips, beside scikit-learn's own.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from benchmarks import report
from services import figures
from services.figures.canvas import Format
from services.figures.confusion import Confusion, by_confusion
from services.figures.embedding import MOST_POINTS, placed
from services.figures.images import Raster

CLASSES, ROUNDS, WIDTH = 101, 3, 512


def shares() -> np.ndarray:
    """Return a confusion matrix as UCF101 has them: most clips right, some taken for a few other classes."""
    rng = np.random.default_rng(0)
    found = np.eye(CLASSES) * 80
    for row in found:
        row[rng.integers(CLASSES, size=5)] += 4
    return 100 * found / found.sum(1, keepdims=True)


def confusion(names: tuple[str, ...], values: np.ndarray, form: Format) -> bytes:
    order = by_confusion(values / 100)
    rows = tuple(map(tuple, values[np.ix_(order, order)].round(3).tolist()))
    figures.render.cache_clear()
    return figures.render(Confusion("Confusion", tuple(names[label] for label in order), rows), form)


def bare(names: tuple[str, ...], values: np.ndarray, form: Format) -> bytes:
    size = Confusion("", names, ()).size
    canvas = Figure(figsize=size)
    axes = canvas.subplots()
    axes.imshow(values)
    axes.set_xticks(range(CLASSES), names, fontsize=6, rotation=90)
    axes.set_yticks(range(CLASSES), names, fontsize=6)
    written = io.BytesIO()
    canvas.savefig(written, format=form, dpi=144)
    return written.getvalue()


def milliseconds(work: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Return the processor time of each round: whoever else computes on the machine changes it little."""
    if rounds > 1:
        work()
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(1000 * (time.process_time() - began))
    return found


def main() -> None:
    """Run it."""
    print(report.machine())
    names, values = tuple(f"ClassOfUCF{number:03}" for number in range(CLASSES)), shares()
    for form in figures.FORMATS:
        floor = milliseconds(lambda form=form: bare(names, values, form))  # type: ignore[misc]
        found = milliseconds(lambda form=form: confusion(names, values, form))  # type: ignore[misc]
        report.line(f"bare imshow of {CLASSES} classes, {form} (floor)", floor)
        report.line(f"confusion of {CLASSES} classes, {form}", found, floor, "goal 1,000 ms")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, WIDTH))
    embeddings = Raster.of(
        (centres[np.arange(MOST_POINTS) % CLASSES] + rng.standard_normal((MOST_POINTS, WIDTH))).astype(np.float16)
    )

    def ours() -> object:
        placed.cache_clear()
        return placed("tsne", embeddings)

    floor = milliseconds(lambda: TSNE(random_state=0, n_jobs=1).fit_transform(embeddings.values.astype(np.float64)), 1)
    report.line(f"scikit-learn's t-SNE of {MOST_POINTS} clips (floor)", floor)
    report.line(f"t-SNE of {MOST_POINTS} clips", milliseconds(ours, 1), floor)


if __name__ == "__main__":
    main()
