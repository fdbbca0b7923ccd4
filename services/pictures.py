"""What stages leave for pictures, in ``pictures.npz`` beside their output: small, without pickles, read without torch.

A `score` stage leaves the embedding of every test clip, what a network with a memory decided at each step, and for a
few clips their frames, small, with the attention on them. A `flow` stage leaves flow of a few clips. ``about`` is JSON
as UTF-8 bytes; everything else is arrays of numbers.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.errors import DataError
from services.stores.files import write_atomically

PICTURES_FILE = "pictures.npz"
MOST_STEPS = 32
"""Frames of a clip that a strip has at most."""
MOST_WIDTH = 1024
"""Numbers of an embedding."""

Half = NDArray[np.float16]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Strip:
    """Frames of a test clip that a network has seen, in the order of its steps.

    Attributes:
        clip: its id.
        steps: numbers of S steps, from 0.
        frames: of the clip, one for each step, from 0.
        images: S JPEGs of whole frames, smaller than those of the clip.
        size: width and height of the clip's own frames, in pixels.
        region: left, top, width and height of what the network saw of a frame, in these pixels.
        attention: share of each position of the region, ``(S, h, w)``; None where the network does not attend.
    """

    clip: str
    steps: tuple[int, ...]
    frames: tuple[int, ...]
    images: tuple[bytes, ...]
    size: tuple[int, int]
    region: tuple[float, float, float, float]
    attention: Half | None = None


@dataclass(frozen=True, eq=False)
class TestPictures:
    """What the test of a network leaves; rows are in the order of the clips of its score file.

    Attributes:
        embeddings: the classifier's input, the mean over a clip's views and steps, ``(N, D)``; None where the
            network's classifier is not known.
        projected: whether they were wider, and were carried over to so many random directions.
        writes: 1 where a step was written to memory, else 0, ``(N, T)``, of one view; None without a memory.
        probability: of writing, 0 to 1, ``(N, T)``, likewise.
        threshold: above which a step is written.
        strips: of a few clips.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    embeddings: Half | None = None
    projected: bool = False
    writes: Bytes | None = None
    probability: Half | None = None
    threshold: float | None = None
    strips: tuple[Strip, ...] = ()


@dataclass(frozen=True, eq=False)
class FlowStrip:
    """Flow of a clip between some of its frames and the next ones.

    Attributes:
        clip: its id.
        frames: S numbers, from 0.
        images: the S frames as JPEGs, smaller than those of the clip.
        motion: x and y, ``(S, 2, h, w)``: in pixels of the clip's frames, or where the range of each field was not
            kept between -1 and 1 of it.
        in_pixels: which of both.
    """

    clip: str
    frames: tuple[int, ...]
    images: tuple[bytes, ...]
    motion: Half
    in_pixels: bool


def write_test(folder: Path, pictures: TestPictures) -> None:
    """Write what a test leaves; equal pictures give equal bytes."""
    arrays = {name: getattr(pictures, name) for name in ("embeddings", "writes", "probability")}
    strips = [
        {
            "clip": strip.clip,
            "steps": strip.steps,
            "frames": strip.frames,
            "images": [len(image) for image in strip.images],
            "size": strip.size,
            "region": strip.region,
        }
        for strip in pictures.strips
    ]
    about = {"projected": pictures.projected, "threshold": pictures.threshold, "strips": strips}
    arrays["images"] = _joined([image for strip in pictures.strips for image in strip.images])
    for number, strip in enumerate(pictures.strips):
        arrays[f"attention_{number}"] = strip.attention
    _write(folder, about, arrays)


def read_test(folder: Path) -> TestPictures:
    """Read what a test has left.

    Raises:
        DataError: there is no such file, or it is broken.
    """
    about, arrays = _read(folder / PICTURES_FILE)
    images, strips = _images(arrays, about["strips"]), []
    for number, entry in enumerate(about["strips"]):
        own = tuple(islice(images, len(entry["images"])))
        given = {name: tuple(entry[name]) for name in ("steps", "frames", "size", "region")}
        strips.append(Strip(entry["clip"], images=own, attention=arrays.get(f"attention_{number}"), **given))
    found = {name: arrays.get(name) for name in ("embeddings", "writes", "probability")}
    return TestPictures(projected=about["projected"], threshold=about["threshold"], strips=tuple(strips), **found)


def write_flow(folder: Path, strips: Sequence[FlowStrip]) -> None:
    """Write flow of a few clips; equal strips give equal bytes."""
    about = {
        "flow": [
            {
                "clip": strip.clip,
                "frames": strip.frames,
                "images": [len(image) for image in strip.images],
                "in_pixels": strip.in_pixels,
            }
            for strip in strips
        ]
    }
    arrays = {f"motion_{number}": strip.motion for number, strip in enumerate(strips)}
    _write(folder, about, {"images": _joined([image for strip in strips for image in strip.images]), **arrays})


def read_flow(folder: Path) -> tuple[FlowStrip, ...]:
    """Read flow of a few clips.

    Raises:
        DataError: there is no such file, or it is broken.
    """
    about, arrays = _read(folder / PICTURES_FILE)
    images, strips = _images(arrays, about["flow"]), []
    for number, entry in enumerate(about["flow"]):
        own, frames = tuple(islice(images, len(entry["images"]))), tuple(entry["frames"])
        strips.append(FlowStrip(entry["clip"], frames, own, arrays[f"motion_{number}"], entry["in_pixels"]))
    return tuple(strips)


def spread(labels: Sequence[int], count: int) -> list[int]:
    """Choose clips over all classes: one of each of ``count`` classes, or where those are fewer one more of each.

    Args:
        labels: of the clips, in their order.
        count: how many, if there are as many.

    Returns:
        Places in ``labels``, rising; a longer choice has other clips, but the same labels choose the same ones.
    """
    by_label: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        by_label.setdefault(label, []).append(place)
    classes = sorted(by_label)
    if count <= len(classes):
        return sorted(by_label[classes[number * len(classes) // count]][0] for number in range(count))
    turns = max((len(places) for places in by_label.values()), default=0)
    in_turn = [by_label[label][turn] for turn in range(turns) for label in classes if turn < len(by_label[label])]
    return sorted(in_turn[:count])


def spaced(length: int, most: int = MOST_STEPS) -> NDArray[np.int64]:
    """Return equally spaced numbers from 0 to ``length - 1``, each once."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(np.int64))


def _joined(images: Sequence[bytes]) -> Bytes:
    return np.frombuffer(b"".join(images), dtype=np.uint8)


def _images(arrays: Mapping[str, NDArray[Any]], entries: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield the images of all clips, one after another."""
    content, first = arrays["images"].tobytes(), 0
    for length in (length for entry in entries for length in entry["images"]):
        yield content[first : first + length]
        first += length


def _write(folder: Path, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any] | None]) -> None:
    content = io.BytesIO()
    there: dict[str, Any] = {name: values for name, values in arrays.items() if values is not None}
    text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), dtype=np.uint8)
    np.savez_compressed(content, about=text, **there)
    write_atomically(folder / PICTURES_FILE, content.getvalue())


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        with path.open("rb") as file, zipfile.ZipFile(file), np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        about: dict[str, Any] = json.loads(arrays.pop("about").tobytes())
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no pictures: {error!r}") from error
    return about, arrays
