"""What a model bundle says of itself: the JSON beside its weights.

A bundle is a zip without compression. ``bundle.json`` is a `Bundle`; ``weights/<name>.safetensors`` are the state dicts
of its networks. Its stages are those of the service that stand between a clip and its scores, each after its inputs:

    flow, gpu_flow    how flow is computed; absent where it is computed on the fly, which ``score`` says then
    extract           a backbone, which frames it sees, and which feature is kept
    finetune, train   whose weights those are, and how they were trained: nothing runs here
    score             a network, what it sees of a clip, and what of its views is averaged
    fuse              how scores of several networks become one answer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.bundles import wiring
from services.params import Params
from services.stages import KINDS, StageKind

FORMAT = "twostream model bundle"
VERSION = 1
CONTENTS_FILE = "bundle.json"
WEIGHTS_FOLDER = "weights"
MODEL_FILE = "model.safetensors"
"""What a weights file is called where it lies in the folder of its stage."""
WEIGHT_KINDS = frozenset({"finetune", "train"})
BUNDLED_KINDS = WEIGHT_KINDS | {"flow", "gpu_flow", "extract", "score", "fuse"}

Name = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,20}-[0-9a-f]{12}$")]
"""Of a stage or of weights; it becomes the name of a file, so that it has no other characters."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundledStage(_Part):
    """A stage between a clip and its scores.

    Attributes:
        version: of what its output means, see `services.stages.StageTraits`.
        label: for people.
        params: its parameters, as `services.stages.KINDS` has them.
        inputs: by name, a stage before this one, or an entry of the bundle's weights.
    """

    name: Name
    kind: StageKind
    version: Annotated[int, Field(ge=1)]
    label: str
    params: dict[str, Any]
    inputs: dict[str, Name]

    @property
    def checked(self) -> Params:
        """The parameters as their kind has them.

        Raises:
            pydantic.ValidationError: they are none of it.
        """
        return KINDS[self.kind].params.model_validate(self.params)


class Weights(_Part):
    """A file of weights in the bundle.

    Attributes:
        bytes: its length.
        sha256: of its content.
        seen: what it was trained on, as the file that it comes from says; None where that says nothing.
    """

    bytes: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    seen: dict[str, Any] | None = None


class Result(_Part):
    """What the system, or one of its streams, reached on the test clips of the split."""

    stream: str
    protocol: str
    metrics: dict[str, float | None]


class Bundle(_Part):
    """A trained system: one split and seed of an experiment.

    Attributes:
        twostream: version of the program that wrote it.
        name: of the experiment, ``experiment`` its id and ``recipe`` what it was submitted by.
        dataset: whose clips of ``split`` trained it, with all random choices from ``seed``.
        classes: names by label.
        stages: each after its inputs; the last one is the system.
        weights: by name; the file is ``weights/<name>.safetensors``.
        report: what it reached.
        spec: as the experiment was submitted.
    """

    format: Literal["twostream model bundle"]
    version: int
    twostream: str
    name: str
    experiment: str
    recipe: str | None
    dataset: str
    split: int
    seed: int
    classes: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    stages: Annotated[tuple[BundledStage, ...], Field(min_length=1, max_length=500)]
    weights: dict[Name, Weights]
    report: tuple[Result, ...] = ()
    spec: dict[str, Any] = {}

    @property
    def fault(self) -> str | None:
        """What keeps it from being a whole system, in words; None where nothing does.

        Raises:
            pydantic.ValidationError: parameters of a stage are none of its kind.
        """
        if len(set(self.classes)) != len(self.classes):
            return "classes: a name is there twice"
        made = dict.fromkeys(self.weights, wiring.WEIGHTS)
        names: set[str] = set()
        for stage in self.stages:
            wrong = "its name is there twice" if stage.name in names else self._wrong(stage, made)
            if wrong is not None:
                return f"{stage.name}: {wrong}"
            names.add(stage.name)
            if stage.kind in wiring.MADE:
                made[stage.name] = wiring.MADE[stage.kind]
        return None if self.stages[-1].kind == "fuse" else "its last stage is no `fuse`"

    def _wrong(self, stage: BundledStage, made: Mapping[str, str]) -> str | None:
        """Say what is wrong with a stage after those that made all this."""
        if stage.kind not in BUNDLED_KINDS:
            return f"a bundle holds no stage of kind {stage.kind}"
        if stage.kind in WEIGHT_KINDS and stage.name not in self.weights:
            return "its weights are not there"
        missing = [name for name in stage.inputs.values() if name not in made]
        if missing:
            return f"its input {missing[0]} is not there before it"
        newest = KINDS[stage.kind].version
        if stage.version > newest:
            return f"of version {stage.version}, allowed: up to {newest}; hint: a newer twostream wrote it"
        params = stage.checked
        return None if stage.kind in WEIGHT_KINDS else wiring.misfit(params, stage.inputs, made)


def member_of(name: str) -> str:
    """Return the path of a weights file inside a bundle."""
    return f"{WEIGHTS_FOLDER}/{name}.safetensors"
