"""What weights have seen: the clips of each split on which they, or those that they started from, were trained.

It lies in the file of the weights, beside them, so that it goes where the file goes. Whoever tests on a clip that was
trained on can be told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.stores.files import write_atomically
from worker.training import checkpoint
from worker.video.survey.manifest import Clip, Manifest

SEEN_FILE = "seen.json"
ATTRIBUTE = "seen"
"""Of a state dict, which torch.save keeps as it keeps PyTorch's own ``_metadata``."""


@dataclass(frozen=True)
class SeenSplit:
    """The training clips of a split.

    Attributes:
        dataset: its name.
        split: 1 to 3.
        digest: SHA-256 of the clips' ids and contents, whatever their order.
    """

    dataset: str
    split: int
    digest: str


@dataclass(frozen=True)
class Seen:
    """What weights have seen.

    Attributes:
        splits: on which they were trained, the first one first.
        complete: whether that is all; not where they started from weights that do not say it.
    """

    splits: tuple[SeenSplit, ...] = ()
    complete: bool = True

    def then(self, other: Seen) -> Seen:
        """Return what weights have seen that saw this, and the other after it or beside it."""
        return Seen(tuple(dict.fromkeys((*self.splits, *other.splits))), self.complete and other.complete)


UNKNOWN = Seen(complete=False)
"""Of a file that says nothing: one of before, or from elsewhere."""


def read_seen(path: Path) -> Seen:
    """Return what the weights in a file have seen; `UNKNOWN` where it does not say.

    Raises:
        FileNotFoundError: there is none.
        pickle.UnpicklingError: it holds more than tensors and plain values.
    """
    return UNKNOWN if path.suffix == ".safetensors" else seen_of(checkpoint.load(path))


def write_seen(folder: Path, seen: Seen) -> None:
    """Write beside features what the weights have seen that they were computed with."""
    write_atomically(folder / SEEN_FILE, json.dumps(_content(seen)).encode())


def seen_beside(folder: Path) -> Seen:
    """Return what the weights have seen with which features were computed; `UNKNOWN` of those of before."""
    try:
        return _of_content(json.loads((folder / SEEN_FILE).read_bytes()))
    except FileNotFoundError:
        return UNKNOWN


def seen_of(state: Mapping[str, Any]) -> Seen:
    """Return what a state dict, as it was read from a file, has seen."""
    found = getattr(state, ATTRIBUTE, None)
    return UNKNOWN if found is None else _of_content(found)


def marked(state: dict[str, Any], seen: Seen) -> dict[str, Any]:
    """Return a network's state dict with what it has seen, to be saved."""
    setattr(state, ATTRIBUTE, _content(seen))
    return state


def _content(seen: Seen) -> dict[str, Any]:
    return {"splits": [asdict(entry) for entry in seen.splits], "complete": seen.complete}


def _of_content(content: Mapping[str, Any]) -> Seen:
    return Seen(tuple(SeenSplit(**entry) for entry in content["splits"]), content["complete"])


def training_of(manifest: Manifest, split: int, clips: Iterable[Clip]) -> Seen:
    """Return what a training on clips of a split sees."""
    lines = sorted(f"{clip.id} {clip.sha256}\n" for clip in clips)
    return Seen((SeenSplit(manifest.dataset, split, hashlib.sha256("".join(lines).encode()).hexdigest()),))
