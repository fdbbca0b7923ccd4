"""Embeddings of test clips on a plane, by PCA or t-SNE, coloured by class (TS-LSTM, Fig. 8 to 12), by scikit-learn."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow
from services.errors import DataError
from services.figures.canvas import HUES, INK, Theme, write_title
from services.figures.choice import Choice
from services.figures.images import Raster
from services.figures.outputs import Output, Pending, chosen, scored
from services.pictures import read_test, spread
from services.scores.files import read_scores
from services.stores.artifacts import ArtifactStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

TSNE, PCA = "tsne", "pca"
Method = Literal["tsne", "pca"]
WORDS: dict[Method, str] = {"tsne": "t-SNE", "pca": "PCA"}
MOST_POINTS = 1000
"""Clips, spread over classes, that are placed: t-SNE takes a few seconds for them on one core."""
FIRST_DIRECTIONS = 50
"""Principal directions that t-SNE sees."""
PERPLEXITY, SEED = 30.0, 0
MOST_NAMED = 16
"""With more classes their names stand in the picture, at the median of their clips."""


@dataclass(frozen=True)
class Scatter:
    """Points on a plane.

    Attributes:
        title: in words.
        classes: K names.
        labels: of each point.
        points: ``(N, 2)`` float32.
    """

    title: str
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    points: Raster

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return (8.0, 6.0) if len(self.classes) <= MOST_NAMED else (9.0, 8.0)

    def draw(self, canvas: Canvas, theme: Theme) -> None:
        """Draw a point for each clip in the hue of its class, without scales: distances alone mean something."""
        canvas.set_layout_engine("constrained")
        axes = canvas.subplots()
        colors = hues(len(self.classes), theme)
        labels, points = np.array(self.labels), self.points.values
        for label, name in enumerate(self.classes):
            own = points[labels == label]
            if len(own):
                axes.scatter(own[:, 0], own[:, 1], s=12, color=colors[label], linewidths=0, alpha=0.85, label=name)
        write_title(canvas, self.title)
        axes.set(xticks=[], yticks=[])
        axes.set_aspect("equal", adjustable="datalim")
        axes.spines[:].set_visible(False)
        if len(self.classes) <= MOST_NAMED:
            canvas.legend(loc="outside right upper", markerscale=1.6)
        else:
            self._name(axes, labels, theme)

    def _name(self, axes: Axes, labels: NDArray[np.int64], theme: Theme) -> None:
        for label, name in enumerate(self.classes):
            own = self.points.values[labels == label]
            if len(own):
                x, y = np.median(own, axis=0)
                axes.text(x, y, name, fontsize=5, ha="center", va="center", color=INK[theme][1])


def prepare(method: Method, session: Session, experiment: ExperimentRow, choice: Choice) -> Pending:
    """Return the embeddings of the test clips of one network, to be read."""
    output = chosen(scored(session, experiment, "embedded"), experiment, method, choice)
    return Pending(partial(_read, method, output))


def lacks(session: Session, experiment: ExperimentRow) -> str | None:
    """Say why an experiment has no embeddings; None where it has."""
    found = scored(session, experiment, "embedded")
    return found if isinstance(found, str) else None


def _read(method: Method, output: Output, store: ArtifactStore) -> Scatter:
    folder = store.fetch(output.place)
    embeddings, scores = read_test(folder).embeddings, read_scores(folder)
    if embeddings is None or len(embeddings) != len(scores.clips):
        raise DataError(f"{output.words}: no embedding for each of {len(scores.clips)} clips")
    if len(embeddings) < 3:
        raise DataError(f"{output.words}: {len(embeddings)} clips, allowed: 3 or more")
    labels = scores.truth
    kept = spread(labels.tolist(), MOST_POINTS)
    points = placed(method, Raster.of(embeddings[kept]))
    of = "" if len(kept) == len(labels) else f", {len(kept):,} of {len(labels):,} clips"
    return Scatter(f"{WORDS[method]}: {output.words}{of}", scores.classes, tuple(labels[kept].tolist()), points)


@lru_cache(maxsize=16)
def placed(method: Method, embeddings: Raster) -> Raster:
    """Return the places of clips on a plane, ``(N, 2)`` float32; equal embeddings have equal places.

    One thread computes: the order in which several add up is not fixed.
    """
    from sklearn import decomposition, manifold  # noqa: PLC0415 - a second that few processes need
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    values = embeddings.values.astype(np.float64)
    if not values.std(0).any():  # nothing tells them apart
        return Raster.of(np.zeros((len(values), 2), np.float32))
    with threadpool_limits(1):
        directions = 2 if method == "pca" else min(FIRST_DIRECTIONS, *values.shape)
        directions = max(1, min(directions, *values.shape))
        first = decomposition.PCA(directions, svd_solver="full").fit_transform(values)
        if first.shape[1] < 2:
            first = np.pad(first, ((0, 0), (0, 1)))
        if method == "tsne":
            perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
            first = manifold.TSNE(perplexity=perplexity, init="pca", random_state=SEED, n_jobs=1).fit_transform(first)
    return Raster.of(np.asarray(first[:, :2], np.float32))


def hues(count: int, theme: Theme) -> Sequence[str | tuple[float, float, float]]:
    """Return a colour for each class: those of the pages where they suffice, and else as many around the wheel."""
    if count <= len(HUES[theme]):
        return HUES[theme]
    lightness = 0.42 if theme == "light" else 0.68
    return [
        colorsys.hls_to_rgb((number * 0.618034) % 1, lightness + 0.1 * (number % 2), 0.65) for number in range(count)
    ]
