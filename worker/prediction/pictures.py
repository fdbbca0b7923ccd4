"""Pictures of predictions: a strip of a clip's frames above its likeliest classes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from worker.prediction.predictor import Prediction
from worker.video.decoding.decode import FrameReader

FRAMES, SHORT_SIDE = 6, 240
WIDTH, STRIP, BAR, TITLE, MARGIN = 9.0, 1.6, 0.26, 0.4, 0.15
"""Inches: the picture's width, and the heights of the strip, of a class, of the clip's name and below all."""
NAMES, SHARES = 0.3, 0.1
"""Parts of the width that classes' names and their shares take."""
DOTS_PER_INCH = 144
LOOK: Any = {"text.parse_math": False, "font.family": "DejaVu Sans", "font.size": 9}  # a name may have dollars
INK, HUE = "#1b1f24", "#0b57a4"


def write_pictures(folder: Path, predictions: Iterable[Prediction], count: int = 5) -> list[Path]:
    """Write a picture of each prediction, ``CLIP.png``, in the place of an older one; return the files in their order.

    Args:
        folder: made where it is missing.
        predictions: of clips that are still there; several of one name get numbers.
        count: how many classes.

    Raises:
        DecodeFailed: a clip does not decode any more.
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for prediction in predictions:
        stem = prediction.clip.stem
        names = (f"{stem}.png" if number == 1 else f"{stem}-{number}.png" for number in range(1, len(written) + 2))
        path = next(folder / name for name in names if folder / name not in written)
        frames = [round(place * (prediction.frames - 1) / (FRAMES - 1)) for place in range(FRAMES)]
        strip = FrameReader().read(prediction.clip, frames, short_side=SHORT_SIDE)
        _draw(_shown(prediction.clip.name), [*strip], prediction.top(count)).savefig(
            path, dpi=DOTS_PER_INCH, metadata={"Software": None}
        )
        written.append(path)
    return written


def _shown(name: str) -> str:
    """Return a file's name as text on one line: bytes that are none are replaced."""
    return " ".join(os.fsencode(name).decode(errors="replace").split())


def _draw(title: str, strip: list[object], top: list[tuple[str, float]]) -> Figure:
    height = TITLE + STRIP + BAR * len(top) + MARGIN
    with rc_context(LOOK):
        canvas = Figure(figsize=(WIDTH, height))
        canvas.text(0.01, 1 - 0.25 / height, title, color=INK)
        for place, frame in enumerate(strip):
            left, bottom = 0.01 + 0.98 * place / FRAMES, 1 - (TITLE + STRIP) / height
            axes = canvas.add_axes((left, bottom, 0.97 / FRAMES, STRIP / height))
            axes.imshow(frame)  # type: ignore[arg-type]
            axes.set_axis_off()
        bars = canvas.add_axes((NAMES, 0.4 * MARGIN / height, 1 - NAMES - SHARES, BAR * len(top) / height))
        bars.barh(range(len(top)), [share for _, share in top], color=HUE, height=0.7)
        bars.set(xlim=(0, 1), ylim=(len(top) - 0.5, -0.5))
        bars.set_axis_off()
        for place, (name, share) in enumerate(top):
            bars.text(-0.01, place, name, ha="right", va="center", color=INK)
            bars.text(share + 0.01, place, f"{100 * share:.2f} %", va="center", color=INK)
    return canvas
