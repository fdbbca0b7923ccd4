"""A trained system out of a bundle, which gives clips the scores that its `score` and `fuse` stages would give them.

It runs the stages themselves, in a folder that goes with it, so that there is no second way to read a clip.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from services.bundles import wiring
from services.bundles.contents import FORMAT, MODEL_FILE, WEIGHT_KINDS, Bundle, BundledStage, member_of
from services.bundles.files import BundleFile, legible
from services.errors import DataError, TwostreamError, UserError
from services.scores.files import ScoreFile, ScoreKind, Scores
from services.scores.fusion import log_softmax
from services.stages import KINDS, ExtractParams, FlowParams, FuseParams, ScoreParams
from worker.contract import Reporter, StageInput, Task
from worker.prediction.clips import SPLIT, manifest_of
from worker.prediction.exported import Feature, Form, Logits, Programs, ProgramWriter
from worker.prediction.sample import sample_clip
from worker.stages import extract, flow, gpu_flow
from worker.stages.backbone import trained_backbone
from worker.stages.fuse import fuse
from worker.stages.score import network_of, scores_of
from worker.training.loop import seed_everything
from worker.video.survey.manifest import MANIFEST_FILE, Manifest

Device = Literal["auto", "cpu", "cuda"]
WHY_SHOWN = 300
FLOW_RUNS = MappingProxyType({"flow": flow.run, "gpu_flow": gpu_flow.run})
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """What a system says of a clip.

    Attributes:
        clip: the file.
        frames: how many it has.
        scores: ``(K,)``, as the score file of the experiment has them: probabilities, or logits.
        probabilities: ``(K,)``, the softmax of logits.
        classes: K names.
    """

    clip: Path
    frames: int
    scores: Scores
    probabilities: Scores
    classes: tuple[str, ...]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the likeliest classes with their probabilities, the likeliest first; equal ones by label."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[label], float(self.probabilities[label])) for label in order]


def load(path: str | os.PathLike[str], *, device: Device = "auto", threads: int | None = None) -> Predictor:
    """Return the system of a bundle, ready for clips; nothing in the file is run.

    Args:
        path: of the bundle, which ``twostream export`` writes.
        device: that computes; ``auto`` takes a GPU where there is one.
        threads: that decode and compute flow; as many as there are cores for it when None.

    Raises:
        DataError: the file is missing, damaged, cut off, no bundle, or a newer version's; the message names it.
    """
    return Predictor(Path(path), device=device, threads=threads)


class Predictor:
    """A trained system; see `load`.

    Attributes:
        path: of the bundle.
        contents: what the bundle says of itself.
        device: ``cpu`` or ``cuda:0``.
    """

    def __init__(self, path: Path, *, device: Device = "auto", threads: int | None = None) -> None:
        self.device = "cuda:0" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
        self.path = path
        self._threads = threads or len(os.sched_getaffinity(0))
        self._folder = Path(tempfile.mkdtemp(prefix="twostream-"))
        self._cleanup = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        try:
            with BundleFile(path) as file:
                self.contents: Bundle = file.contents
                for name in file.contents.weights:
                    file.unpack(name, self._weights(name) / MODEL_FILE)
                    _require_tensors(path, name, self._weights(name) / MODEL_FILE)
                for stage in file.contents.stages:
                    _look_at(path, stage)
        except BaseException:
            self.close()
            raise

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by label."""
        return self.contents.classes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was unpacked; it goes with the object in any case."""
        self._cleanup()

    def predict(self, *clips: str | os.PathLike[str]) -> list[Prediction]:
        """Return what the system says of clips, in their order; many at once cost less than one after another.

        Raises:
            DataError: a clip is missing or does not decode, or is too short or too small for the system.
            UserError: the system needs what is not here, such as weights that a library fetches.
        """
        files = [Path(clip) for clip in clips]
        if not files:
            return []
        with tempfile.TemporaryDirectory(prefix="pass-", dir=self._folder) as folder, _undisturbed():
            system = _Pass(self, Path(folder), files)
            found = system.run()
        if not np.isfinite(found.values).all():
            raise DataError(f"{self.path}: its scores are no finite numbers: its weights were not trained so")
        logits = found.kind == "logits"
        probabilities = np.exp(log_softmax(found.values)) if logits else found.values
        rows = zip(files, system.frames, found.values, probabilities, strict=True)
        return [Prediction(*row, self.classes) for row in rows]

    def export(
        self, folder: str | os.PathLike[str], clip: str | os.PathLike[str] | None = None, form: Form = "torch"
    ) -> Programs:
        """Write each backbone and network as a program, for batches of the shape of a clip's.

        What stands between them, which is reading a clip, flow, views and fusion, is no part of a program.

        Args:
            folder: takes ``NAME.pt2`` or ``NAME.onnx`` for each; made where it is missing.
            clip: whose frames say the shapes; a generated one if not given.
            form: ``torch`` for ``torch.export``, or ``onnx``.

        Returns:
            The files, and what has none, with the reason.

        Raises:
            DataError: the clip is missing or does not decode.
            UserError: what writes the form is not installed.
            ValueError: a program gives other numbers than its network.
        """
        writer = ProgramWriter(Path(folder), form)
        with tempfile.TemporaryDirectory(prefix="pass-", dir=self._folder) as place, _undisturbed():
            shown = sample_clip(Path(place)) if clip is None else Path(clip)
            _Pass(self, Path(place), [shown], writer).run()
        return writer.programs

    def _weights(self, name: str) -> Path:
        folder = self._folder / "weights" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _task(self, folder: Path, stage: BundledStage, inputs: Sequence[StageInput]) -> Task:
        """Return the task of a stage in a folder of its own."""
        place = folder / stage.name
        for part in ("output", "state"):
            (place / part).mkdir(parents=True)
        return Task(
            key=stage.name,
            kind=stage.kind,
            attempt=1,
            params=stage.params,
            inputs=tuple(inputs),
            output=place / "output",
            state=place / "state",
            events=folder / "events",
            result=place / "result",
            data_root=folder,
            device=self.device,
            threads=self._threads,
        )


class _Pass:
    """One pass of some clips through a system, in a folder that holds what stages make of them."""

    def __init__(
        self, system: Predictor, folder: Path, clips: Sequence[Path], programs: ProgramWriter | None = None
    ) -> None:
        self._system, self._folder = system, folder
        self._programs = programs
        self._manifest = manifest_of(clips, system.classes, folder / "survey", system._threads)
        self.frames = [clip.frames for clip in self._manifest.clips]
        self._files = tuple(str(self._manifest.root / clip.path) for clip in self._manifest.clips)
        index = folder / "index"
        index.mkdir()
        (index / MANIFEST_FILE).write_text(self._manifest.model_dump_json())
        self._index = StageInput(name="index", kind="index", key="index", path=index)
        self._kinds = {stage.name: stage.kind for stage in system.contents.stages}
        self._outputs: dict[str, Path] = {name: system._weights(name) for name in system.contents.weights}
        self._scores: dict[str, ScoreFile] = {}

    def run(self) -> ScoreFile:
        """Return the scores of all clips."""
        report = Reporter(self._folder / "events")
        try:
            for stage in self._system.contents.stages:
                with _answered_for(self._system.path, stage, self._files):
                    self._run(stage, report)
        finally:
            report.close()
            for warning in _warnings(self._folder / "events"):
                log.warning(warning)
        return self._scores[self._system.contents.stages[-1].name]

    def _run(self, stage: BundledStage, report: Reporter) -> None:
        params = stage.checked
        if stage.kind in WEIGHT_KINDS:
            return
        if isinstance(params, FuseParams):
            files = [self._scores[source] for source in self._fused(stage, params)]
            self._scores[stage.name] = files[0] if len(files) == 1 else fuse(files, params)
            return
        task = self._system._task(self._folder, stage, [self._index, *self._inputs(stage)])
        if isinstance(params, FlowParams):
            FLOW_RUNS[stage.kind](task, params, report)
        elif isinstance(params, ExtractParams):
            extract.run(task, params, report)
            self._write_backbone(task, params)
        elif isinstance(params, ScoreParams):
            seed_everything(params.seed)
            self._write_network(task, params, report)
            self._scores[stage.name] = self._scored(task, params, report)
        self._outputs[stage.name] = task.output

    def _inputs(self, stage: BundledStage) -> Iterator[StageInput]:
        for name, source in stage.inputs.items():
            yield StageInput(name=name, kind=self._kinds.get(source, "train"), key=source, path=self._outputs[source])

    def _fused(self, stage: BundledStage, params: FuseParams) -> list[str]:
        """Return what a `fuse` stage joins, in the order of its weights."""
        return [*stage.inputs.values()] if params.members is None else [stage.inputs[m.name] for m in params.members]

    def _write_backbone(self, task: Task, params: ExtractParams) -> None:
        if self._programs is not None:
            seed_everything(params.seed or 0)
            backbone = trained_backbone(task, params).to(task.device).eval()
            size = backbone.format.size
            frames = torch.zeros(1, backbone.format.channels, size, size, device=task.device)
            self._programs.write(task.key, Feature(backbone, params.feature), frames)

    def _write_network(self, task: Task, params: ScoreParams, report: Reporter) -> None:
        if self._programs is not None:
            network, seen = network_of(task, _of_one_split(params), self._manifest, self._manifest.clips, report)
            views = next(iter(seen.views()))
            self._programs.write(task.key, Logits(network), next(iter(views.parts)))

    def _scored(self, task: Task, params: ScoreParams, report: Reporter) -> ScoreFile:
        values, _ = scores_of(task, _of_one_split(params), self._manifest, self._manifest.clips, report)
        return _score_file(self._manifest, params, values, params.average)


def _require_tensors(path: Path, name: str, file: Path) -> None:
    """Refuse what has the checksum that the bundle says, and is no file of safetensors."""
    try:
        with safe_open(file, framework="pt"):
            pass
    except SafetensorError as error:
        raise DataError(f"{path} is damaged: {member_of(name)} is no file of safetensors: {error}") from error


def _look_at(path: Path, stage: BundledStage) -> None:
    """Refuse a stage that lacks an input; say so where one meant another thing when it scored the experiment."""
    if stage.kind in WEIGHT_KINDS:
        return
    lacking = wiring.missing(stage.checked, stage.inputs)
    if lacking is not None:
        raise DataError(f"{path} is no whole {FORMAT}: {stage.name}: its input {lacking} is not there")
    newest = KINDS[stage.kind].version
    if stage.version < newest:
        words = f"{stage.name}: of version {stage.version}, run as version {newest}: scores may differ"
        log.warning("%s; hint: export the experiment again", words)


@contextmanager
def _answered_for(path: Path, stage: BundledStage, clips: tuple[str, ...]) -> Iterator[None]:
    """Name the file in what is raised by a stage that nobody planned, unless it is about a clip and begins with that.

    Raises:
        DataError: in place of what says nothing of its cause, too; then it names the stage.
    """
    try:
        yield
    except (DataError, UserError) as error:
        if type(error) not in {DataError, UserError} or str(error).startswith(clips):
            raise
        raise type(error)(f"{path}: {legible(str(error))}") from error
    except (TwostreamError, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a network made of numbers that nobody checked raises; the cause stays chained
        words = legible(" ".join(f"{type(error).__name__}: {error}".split()))[:WHY_SHOWN]
        raise DataError(f"{path}: {stage.name} cannot be run as the file says: {words}") from error


def _of_one_split(params: ScoreParams) -> ScoreParams:
    return params.model_copy(update={"split": SPLIT})


def _score_file(manifest: Manifest, params: ScoreParams, values: Scores, kind: ScoreKind) -> ScoreFile:
    return ScoreFile(
        dataset=manifest.dataset,
        split=SPLIT,
        streams=params.streams,
        seed=params.seed,
        classes=manifest.classes,
        clips=tuple(clip.id for clip in manifest.clips),
        labels=np.zeros(len(manifest.clips), np.int64),
        scores=values,
        kind=kind,
    )


def _warnings(events: Path) -> Iterator[str]:
    for line in events.read_text(encoding="utf-8").splitlines():
        event: dict[str, Any] = json.loads(line)
        if event["type"] == "warning":
            yield event["data"]["message"]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Give PyTorch's random numbers and choice of kernels back to whoever asked."""
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with torch.random.fork_rng():
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warns)
            torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
