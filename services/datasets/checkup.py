"""What the doctor of a dataset found, as it is kept: counts, and the first of what each finding names.

`twostream dataset check` sends it; the whole report may name every clip of a dataset, and stays with whoever asked.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from services.texts import PLAIN

FIRST = 20
"""What is named of a finding."""
LONGEST_WORDS = 500
"""Characters of one of them."""
MOST_KINDS = 50
"""Of a count, such as of sizes."""

Whole = Annotated[int, Field(ge=0, lt=2**53)]
Words = Annotated[str, Field(max_length=LONGEST_WORDS, pattern=PLAIN)]
Count = Literal["fps", "sizes", "codecs", "timing", "pixel_aspects", "pixel_formats", "audio", "others"]
Clips = Annotated[
    dict[Words, Whole],
    Field(max_length=MOST_KINDS),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": PLAIN, "maxLength": LONGEST_WORDS},
            "additionalProperties": {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**53},
            "maxProperties": MOST_KINDS,
        }
    ),
]
"""How many clips are of each kind; pydantic's own schema would let any other name pass."""
FindingName = Literal[
    "deviations", "leaks", "missing", "undecodable", "miscounted", "differing", "duplicates", "surplus"
]
HARMFUL: tuple[FindingName, ...] = ("leaks", "missing", "undecodable")
"""With one of these no experiment can run, or none says what it should."""


class Found(BaseModel):
    """How often something was found, and the first of them in words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: Whole
    first: Annotated[list[Words], Field(max_length=FIRST)] = []


class Checkup(BaseModel):
    """What the doctor found.

    Attributes:
        classes: of the lists.
        clips: that the lists name, without those that are left out.
        excluded: how many are left out.
        present: how many of the clips there are.
        frames: of all clips that decode.
        interlaced, turned, mirrored: how many clips are.
        counts: how many clips have each size, rate and so on.
        findings: null for deviations from official lists where the dataset is none of those.
        decoder: what decoded the clips.
    """

    model_config = ConfigDict(extra="forbid")

    classes: Whole
    clips: Whole
    excluded: Whole
    present: Whole
    frames: Whole
    interlaced: Whole
    turned: Whole
    mirrored: Whole
    counts: dict[Count, Clips]
    findings: dict[FindingName, Found | None]
    decoder: Words

    @property
    def is_healthy(self) -> bool:
        """Whether experiments can run: no clip is missing or broken, and no group of clips leaks."""
        return not any(found.count for name in HARMFUL if (found := self.findings.get(name)) is not None)
