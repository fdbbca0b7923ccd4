"""What the official lists of UCF101 and HMDB51 hold, and UCF101's coarse categories.

Counted on the official files; the categories are those that MATDL's Table 1 reports, as public loaders have them. The
accuracy of one is pooled over its clips: only so do the printed values of ConvLSTM come out (568 of 747, 172 of 193).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from services.datasets.annotations import Annotations


@dataclass(frozen=True)
class OfficialCounts:
    """Classes, clips, and clips to train and to test by split."""

    classes: int
    clips: int
    splits: Mapping[int, tuple[int, int]]


OFFICIAL: Mapping[str, OfficialCounts] = MappingProxyType(
    {
        "ucf101": OfficialCounts(101, 13_320, {1: (9_537, 3_783), 2: (9_586, 3_734), 3: (9_624, 3_696)}),
        "hmdb51": OfficialCounts(51, 6_766, dict.fromkeys((1, 2, 3), (3570, 1530))),
    }
)

_FEW = {
    "Human-Object Interaction": (
        "ApplyEyeMakeup ApplyLipstick BlowDryHair BrushingTeeth CuttingInKitchen Hammering HulaHoop JugglingBalls "
        "JumpRope Knitting Mixing MoppingFloor Nunchucks PizzaTossing ShavingBeard SkateBoarding SoccerJuggling Typing "
        "WritingOnBoard YoYo"
    ),
    "Body-Motion Only": (
        "BabyCrawling BlowingCandles BodyWeightSquats HandstandPushups HandstandWalking JumpingJack Lunges PullUps "
        "PushUps RockClimbingIndoor RopeClimbing Swing TaiChi TrampolineJumping WalkingWithDog WallPushups"
    ),
    "Human-Human Interaction": "BandMarching Haircut HeadMassage MilitaryParade SalsaSpin",
    "Playing Musical Instruments": (
        "Drumming PlayingCello PlayingDaf PlayingDhol PlayingFlute PlayingGuitar PlayingPiano PlayingSitar "
        "PlayingTabla PlayingViolin"
    ),
}
SPORTS = "Sports"
CATEGORIES: tuple[str, ...] = (*_FEW, SPORTS)
CATEGORY_OF = {name: category for category, names in _FEW.items() for name in names.split()}
"""Of the classes that are no sports."""


def categories_of(classes: Sequence[str]) -> tuple[str, ...] | None:
    """Return the coarse category of each of UCF101's classes, or None for the classes of another dataset.

    The 50 classes that are in no other category are sports.
    """
    if len(set(classes)) != OFFICIAL["ucf101"].classes or not CATEGORY_OF.keys() <= set(classes):
        return None
    return tuple(CATEGORY_OF.get(name, SPORTS) for name in classes)


def deviations(annotations: Annotations, official: OfficialCounts) -> tuple[str, ...]:
    """Say in words where lists differ from the official ones; nothing where they do not."""
    splits = {number: (len(split.train), len(split.test)) for number, split in annotations.splits.items()}
    found = [("classes", len(annotations.classes), official.classes)]
    found += [("clips", len(annotations.named_clips()), official.clips)]
    for number, counts in official.splits.items():
        for part, have, want in zip(("train", "test"), splits.get(number, (0, 0)), counts, strict=True):
            found.append((f"split {number} {part}", have, want))
    return tuple(f"{what}: {have}, official: {want}" for what, have, want in found if have != want)


def shared_groups(annotations: Annotations, group_of: Mapping[str, int | str | None]) -> tuple[str, ...]:
    """Say which groups of a class lie on both sides of a split: clips of one scene, seen in training.

    Args:
        annotations: the lists.
        group_of: group of each clip by its path: a number, or the title of a film.
    """
    words = []
    for number, split in annotations.splits.items():
        sides = [{(clip.label, group_of.get(clip.path)) for clip in part} for part in (split.train, split.test)]
        for label, group in sorted((pair for pair in sides[0] & sides[1] if pair[1] is not None), key=_in_order):
            named = f"film {group!r}" if isinstance(group, str) else f"group {group}"
            words.append(f"split {number}: {named} of {annotations.classes[label]} is trained and tested on")
    return tuple(words)


def _in_order(pair: tuple[int, int | str | None]) -> tuple[int, bool, int, str]:
    label, group = pair
    return label, isinstance(group, str), group if isinstance(group, int) else 0, str(group)
