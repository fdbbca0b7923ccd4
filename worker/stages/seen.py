"""What weights have seen: the clips of each split on which they, or those that they started from, were trained.

And by which test clips an epoch of them was chosen. It lies in the file of the weights, beside them, so that it goes
where the file goes. Whoever tests on a clip that was trained on can be told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.planning.linter import SeenClips
from services.planning.provenance import Draw, drawn
from services.planning.provenance import SeenSplit as PlannedSplit
from services.specs import TrainingSpec
from services.stages import FinetuneParams, TrainParams
from services.stores.files import write_atomically
from worker.training import checkpoint
from worker.video.survey.manifest import Clip, Manifest, Part

SEEN_FILE = "seen.json"
ATTRIBUTE = "seen"
"""Of a state dict, which torch.save keeps as it keeps PyTorch's own ``_metadata``."""


@dataclass(frozen=True)
class SeenSplit:
    """The clips of a split's train list, or of its test list.

    Attributes:
        dataset: its name.
        split: 1 to 3.
        digest: SHA-256 of the clips' ids and contents, whatever their order; clips that a training held out count too.
        kept_from: the part of the train list that was held out; None where nothing was, or nobody said so.
    """

    dataset: str
    split: int
    digest: str
    kept_from: Draw | None = None


@dataclass(frozen=True)
class Seen:
    """What weights have seen.

    Attributes:
        splits: on which they were trained, the first one first.
        complete: whether that is all; not where they started from weights that do not say it.
        chosen: by whose test clips an epoch was chosen.
    """

    splits: tuple[SeenSplit, ...] = ()
    complete: bool = True
    chosen: tuple[SeenSplit, ...] = ()

    def then(self, other: Seen) -> Seen:
        """Return what weights have seen that saw this, and the other after it or beside it."""
        return Seen(
            tuple(dict.fromkeys((*self.splits, *other.splits))),
            self.complete and other.complete,
            tuple(dict.fromkeys((*self.chosen, *other.chosen))),
        )


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
    lists = {"splits": seen.splits, "chosen": seen.chosen}
    return {name: [_entry(each) for each in found] for name, found in lists.items()} | {"complete": seen.complete}


def _entry(seen: SeenSplit) -> dict[str, Any]:
    own = {"dataset": seen.dataset, "split": seen.split, "digest": seen.digest}
    return own if seen.kept_from is None else own | {"kept_from": seen.kept_from._asdict()}


def _of_entry(content: Mapping[str, Any]) -> SeenSplit:
    draw = content.get("kept_from")
    return SeenSplit(**{**content, "kept_from": None if draw is None else Draw(**draw)})


def _of_content(content: Mapping[str, Any]) -> Seen:
    splits, chosen = (tuple(_of_entry(entry) for entry in content.get(name, ())) for name in ("splits", "chosen"))
    return Seen(splits, content["complete"], chosen)


def training_of(manifest: Manifest, split: int, training: TrainingSpec, kept_from: Draw | None = None) -> Seen:
    """Return what a training on a split sees: its train list, and its test list where that chooses the epoch.

    ``kept_from`` is the part of the train list that it holds out.
    """
    chosen = (_list(manifest, split, "test"),) if training.selection == "test" else ()
    return Seen((replace(_list(manifest, split, "train"), kept_from=kept_from),), chosen=chosen)


def seen_now(manifest: Manifest, params: FinetuneParams | TrainParams) -> Seen:
    """Return what a stage's own training sees."""
    return training_of(manifest, params.split, params.training, _draw(params))


def doubt_of(
    manifest: Manifest, params: FinetuneParams | TrainParams, held_out: Sequence[Clip], before: Seen
) -> dict[str, str]:
    """Name, as ``validation_seen``, the dataset whose held-out clips choose the epoch of weights that had seen them."""
    draw = _draw(params)
    if draw is None or params.training.selection != "validation":
        return {}
    return {"validation_seen": manifest.dataset} if saw_held_out(manifest, params.split, held_out, draw, before) else {}


def _draw(params: FinetuneParams | TrainParams) -> Draw | None:
    return drawn(params.training, params.seed, params.held_out_by)


def saw_held_out(manifest: Manifest, split: int, held_out: Sequence[Clip], draw: Draw, before: Seen) -> bool:
    """Say whether weights were trained on clips of a split that a training holds out, as far as they tell.

    Args:
        manifest: of the dataset.
        split: whose train list the clips are of.
        held_out: the clips.
        draw: by which they are held out.
        before: what the weights have seen from which the training starts.
    """
    own, ids = _list(manifest, split, "train").digest, {clip.id for clip in held_out}
    lists = {_list(manifest, number, "train").digest: set(other.train) for number, other in manifest.splits.items()}
    for entry in before.splits:
        kept = entry.digest == own and entry.kept_from is not None and entry.kept_from.has(draw)
        unknown = entry.digest not in lists and entry.dataset == manifest.dataset
        if not kept and (unknown or ids & lists.get(entry.digest, set())):
            return True
    return False


def among(manifest: Manifest, seen: Seen) -> tuple[SeenClips, bool]:
    """Return what weights have seen of a dataset's clips, by the splits that it has now, and whether some chose them.

    Lists are known by what they hold. One of the dataset's name that holds other clips was its list once: nobody can
    say which of today's clips it had.
    """
    lists = [_list(manifest, split, "train") for split in manifest.splits]
    tests = {_list(manifest, split, "test").digest for split in manifest.splits}
    found: list[PlannedSplit] = []
    complete = seen.complete
    for entry in seen.splits:
        same = [each.split for each in lists if each.digest == entry.digest]
        own = entry.dataset == manifest.dataset
        complete = complete and (bool(same) or not own)
        found += [PlannedSplit(manifest.dataset, split) for split in same]
        found += [PlannedSplit(entry.dataset, entry.split)] if not same else []
    chosen = any(entry.dataset == manifest.dataset or entry.digest in tests for entry in seen.chosen)
    return SeenClips(tuple(dict.fromkeys(found)), complete), chosen


def _list(manifest: Manifest, split: int, part: Part) -> SeenSplit:
    lines = sorted(f"{clip.id} {clip.sha256}\n" for clip in manifest.clips_of(split, part))
    return SeenSplit(manifest.dataset, split, hashlib.sha256("".join(lines).encode()).hexdigest())
