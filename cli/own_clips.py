"""A folder of a user's own clips, one folder a class, as the demo's dataset: its lists, and what is trained on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.client import INVALID, NOT_FOUND, Client, CommandError
from cli.transport import step
from services.stores.files import write_atomically
from services.words import counted

CLIP_SUFFIXES = frozenset({".avi", ".mp4", ".mkv", ".mov", ".webm"})
TESTED = 4
"""One clip of so many of a class is tested on, and one at least."""
ALLOWED = "a folder with one folder a class, at least two of them, each with two clips or more"
Json = dict[str, Any]


class OwnClips:
    """A folder of clips.

    Attributes:
        root: of the clips, ``<class>/<clip>``.
        name: of the dataset.
        clips: the clips' names by class, sorted.

    Raises:
        CommandError: it is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder.resolve()
        self.name = "demo-" + (re.sub(r"[^A-Za-z0-9._-]+", "-", self.root.name)[:90] or "clips")
        if not self.root.is_dir():
            raise CommandError(f"--dataset: got '{folder}', allowed: {ALLOWED}", INVALID)
        classes = sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        self.clips = {path.name: _clips(path) for path in classes}
        few = [name for name, clips in self.clips.items() if len(clips) < 2]
        if few or len(self.clips) < 2:
            found = (
                f"'{few[0]}' with {counted(len(self.clips[few[0]]), 'clip')}"
                if few
                else counted(len(self.clips), "class")
            )
            raise CommandError(f"--dataset: got {found} in '{folder}', allowed: {ALLOWED}", INVALID)

    @property
    def count(self) -> int:
        """How many clips there are."""
        return sum(map(len, self.clips.values()))

    @property
    def bytes(self) -> int:
        """What they take on disk."""
        return sum((self.root / name / clip).stat().st_size for name, clips in self.clips.items() for clip in clips)

    @property
    def lists(self) -> Mapping[str, str]:
        """The lists of its one split, in UCF101's layout, by name of the file."""
        train = [f"{name}/{clip} {label}" for label, name, clip, tested in self._rows() if not tested]
        test = [f"{name}/{clip}" for _, name, clip, tested in self._rows() if tested]
        classes = [f"{label} {name}" for label, name in enumerate(self.clips, start=1)]
        files = {"classInd.txt": classes, "trainlist01.txt": train, "testlist01.txt": test}
        return {file: "".join(f"{line}\n" for line in lines) for file, lines in files.items()}

    def _rows(self) -> list[tuple[int, str, str, bool]]:
        return [
            (label, name, clip, number % TESTED == TESTED - 1 or (len(clips) < TESTED and number == len(clips) - 1))
            for label, (name, clips) in enumerate(self.clips.items(), start=1)
            for number, clip in enumerate(clips)
        ]

    def register(self, client: Client, folder: Path) -> None:
        """Write the lists below a folder, and register the dataset where it is not yet; see ``submissions``."""
        annotations = folder / self.name
        annotations.mkdir(parents=True, exist_ok=True)
        for file, text in self.lists.items():
            write_atomically(annotations / file, text.encode())
        known = _registered(client, self.name)
        if known is None or known["root"] != str(self.root):
            body = {"name": self.name, "root": str(self.root), "annotations": str(annotations), "splits": [1]}
            client.post("/datasets", {**body, "replace": known is not None})

    @property
    def submissions(self) -> tuple[Json, ...]:
        """Two networks on rgb features of EfficientNet-Lite0, as ImageNet trained it: one sees order, one does not.

        Clips that came or went since the dataset was registered make its next revision.
        """
        common: Json = {
            "dataset": self.name,
            "splits": [1],
            "streams": ["rgb"],
            "refresh": True,
            "backbone": {"name": "efficientnet_lite0", "weights": "imagenet", "finetune": None},
            "training": {"epochs": 40, "batch_size": 32, "optimizer": {"name": "adam", "learning_rate": 1e-3}},
        }
        ordered = {"name": "TS-LSTM", "model": {"kind": "ts_lstm", "segments": 5, "hidden": [64]}}
        return {**common, **ordered}, {**common, "name": "mean pooling", "model": {"kind": "mean_pooling"}}

    @property
    def board(self) -> Json:
        """The board on which the two are ranked."""
        return {"dataset": self.name, "split": "mean", "stream": "rgb"}


def _clips(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in CLIP_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def _registered(client: Client, name: str) -> Json | None:
    try:
        found: Json = client.get(f"/datasets/{step(name)}")
    except CommandError as error:
        if error.exit_code == NOT_FOUND:
            return None
        raise
    return found
