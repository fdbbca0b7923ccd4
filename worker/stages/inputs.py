"""What a temporal network sees of clips, in training and the test: spaced features, snippets of features, or frames.

`open_input` opens what a stage's parameters say; each of the three builds the network on it, and gives the samples of
training and the views of the test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.backbones import Backbone
from services.params import Frames, FrameSamples, FrameViews, Snippets, SnippetViews
from services.specs import ModelSpec, TrainingSpec
from services.stages import LocalizeParams, ScoreParams, TrainParams
from worker.contract import Reporter, Task
from worker.stages.backbone import frame_source, trained_backbone
from worker.stages.features import StreamFeatures, stream_features
from worker.stages.loaders import loader_workers
from worker.stages.networks import build_end_to_end, build_network
from worker.training.batches import BatchSource, DatasetSource, FeatureSource, Indices, Inputs, TensorSource, to_device
from worker.training.distributed import World
from worker.training.loader import Loader
from worker.video.input.crops import MultiScale, TestCrops
from worker.video.input.dataset import CACHE_BYTES
from worker.video.input.protocols import snippet, snippets
from worker.video.input.snippets import SnippetDataset, ViewDataset
from worker.video.input.transforms import TestTransform
from worker.video.survey.manifest import Clip, Manifest

IN_MEMORY_BYTES = (
    1 << 30
)  # features that lie in memory; more is read batch by batch, as fast while the disk's cache holds
ON_GPU_BYTES = 4 << 30  # on the GPU that trains, in its own memory; UCF101's two streams of 2048 numbers fit
BATCH_BYTES = 256 << 20  # of features that are scored at once
MAX_BATCH = 256  # views
MAX_FRAMES = 512  # that go through a backbone at once; 10 crops of 25 frames are 250


class Views(NamedTuple):
    """All V views of n clips.

    Attributes:
        clips: their numbers, ``(n,)``.
        parts: inputs of the network that add up to ``(n V, ...)``: the views of one clip, then those of the next.
    """

    clips: Indices
    parts: Iterable[Inputs]


class NetworkInput(ABC):
    """Clips as a network sees them.

    Attributes:
        backbone: that is a part of the network; None where it sees features.
    """

    backbone: Backbone | None = None

    @abstractmethod
    def build(self, spec: ModelSpec, num_classes: int) -> nn.Module:
        """Build the network of a spec for what it sees.

        Raises:
            UserError: clips have fewer steps than the network needs, or features of another form.
        """

    @abstractmethod
    def source(self, training: TrainingSpec, seed: int, world: World) -> BatchSource:
        """Return the clips as samples of training."""

    @abstractmethod
    def views(self) -> Iterator[Views]:
        """Yield the clips, in their order, as the test sees them: each in several views, or in one."""


def open_input(
    task: Task,
    params: TrainParams | ScoreParams | LocalizeParams,
    manifest: Manifest,
    clips: Sequence[Clip],
    report: Reporter,
    *,
    backbone: Backbone | None = None,
) -> NetworkInput:
    """Return what a network sees of clips; features and frames are not yet read.

    ``backbone`` is that of another input of the same network, where there is one.

    Raises:
        DataError: a clip has no features, or the streams do not fit together.
        UserError: the backbone's weights cannot be read or do not fit, or it has no such feature.
    """
    look = params.input
    if isinstance(look, Frames):
        return FrameInput(task, look, manifest, clips, report, backbone or trained_backbone(task, look))
    features = stream_features(task, params.streams, params.model, clips)
    labels, device = torch.tensor([clip.label for clip in clips]), torch.device(task.device)
    if isinstance(look, Snippets):
        return SnippetInput(features, labels, device, look)
    return SpacedInput(features, labels, device)


class SpacedInput(NetworkInput):
    """Features of equally spaced frames of N clips, all steps of each at once (TS-LSTM).

    Args:
        features: of clips that have as many steps.
        labels: ``(N,)`` int64.
        device: that computes.
    """

    def __init__(self, features: StreamFeatures, labels: Tensor, device: torch.device) -> None:
        self._features, self._labels, self._device = features, labels, device

    def build(self, spec: ModelSpec, num_classes: int) -> nn.Module:
        """Build the network of a spec for features of so many steps."""
        return build_network(spec, num_classes, self._features.shape, int(self._features.lengths.min()))

    def source(self, training: TrainingSpec, seed: int, world: World) -> BatchSource:
        """Return samples that lie on the device, or that are read batch by batch where they are too large for that."""
        features, batch_size = self._features, training.batch_size
        if features.num_bytes > (IN_MEMORY_BYTES if self._device.type == "cpu" else ON_GPU_BYTES):
            return FeatureSource(features, self._labels, batch_size, seed, world)
        inputs = to_device(features.take(np.arange(len(features))), self._device)
        return TensorSource(inputs, self._labels.to(self._device), batch_size, seed, world)

    def views(self) -> Iterator[Views]:
        """Yield batches of clips, of which each is seen once."""
        for clips in _batches(self._features, 1, int(self._features.lengths.max())):
            yield Views(clips, [to_device(self._features.take(clips), self._device)])


class SnippetInput(NetworkInput):
    """Features of every frame of N clips, a few steps in a row (VideoLSTM, sec. 5.2).

    Args:
        features: of the clips.
        labels: ``(N,)`` int64.
        device: that computes.
        look: how many steps, and in the test how many snippets.
    """

    def __init__(self, features: StreamFeatures, labels: Tensor, device: torch.device, look: Snippets) -> None:
        self._features, self._labels, self._device, self._look = features, labels, device, look

    def build(self, spec: ModelSpec, num_classes: int) -> nn.Module:
        """Build the network of a spec for features of a snippet's steps."""
        return build_network(spec, num_classes, self._features.shape, self._look.length)

    def source(self, training: TrainingSpec, seed: int, world: World) -> BatchSource:
        """Return a random snippet of each clip, read batch by batch."""
        choose = partial(snippet, length=self._look.length)
        return FeatureSource(self._features, self._labels, training.batch_size, seed, world, choose=choose)

    def views(self) -> Iterator[Views]:
        """Yield batches of clips, of which each is seen in equally spaced snippets."""
        look = self._look
        assert isinstance(look, SnippetViews)
        for clips in _batches(self._features, look.count, look.length):
            steps = [snippets(int(length), look.count, look.length) for length in self._features.lengths[clips]]
            inputs = self._features.take(clips.repeat(look.count), np.concatenate(steps))
            yield Views(clips, [to_device(inputs, self._device)])


def _batches(features: StreamFeatures, views: int, steps: int) -> list[Indices]:
    """Cut clips into batches whose features, in so many views of so many steps each, take a bounded memory."""
    step_bytes = features.num_bytes // int(features.lengths.sum())
    size = max(1, min(MAX_BATCH // views, BATCH_BYTES // (step_bytes * steps * views)))
    return np.split(np.arange(len(features)), range(size, len(features), size))


class FrameInput(NetworkInput):
    """Frames or flow stacks of clips, for a network of which a backbone is a part (TSN, MATDL, Relational LSTM).

    Args:
        task: says where frames and weights come from, and what computes.
        look: which frames of a clip, and how the backbone is made.
        manifest: of the dataset.
        clips: of it.
        report: takes warnings.
        backbone: a part of the network.
    """

    backbone: Backbone

    def __init__(
        self,
        task: Task,
        look: Frames,
        manifest: Manifest,
        clips: Sequence[Clip],
        report: Reporter,
        backbone: Backbone,
    ) -> None:
        self._task, self._look, self._manifest, self._clips, self._report = task, look, manifest, clips, report
        self.backbone = backbone
        self._flow, self._stack = look.stream == "flow", max(1, look.flow_stack)

    def build(self, spec: ModelSpec, num_classes: int) -> nn.Module:
        """Build the network of a spec with the backbone, which is cut off behind the feature that it sees."""
        return build_end_to_end(spec, num_classes, self.backbone, self._look)

    def source(self, training: TrainingSpec, seed: int, world: World) -> BatchSource:
        """Return a frame at random of each of several parts of a clip."""
        task, look, input_format = self._task, self._look, self.backbone.format
        assert isinstance(look, FrameSamples)
        batch_bytes = look.snippets * input_format.num_bytes * -(-training.batch_size // world.size)
        num_workers = loader_workers(task, look.flow, batch_bytes)
        dataset = SnippetDataset(
            self._clips,
            frame_source(task, self._manifest, look, self._report, CACHE_BYTES // max(1, num_workers)),
            MultiScale(input_format, flow=self._flow) if look.augmentation else TestTransform(input_format),
            seed=seed,
            snippets=look.snippets,
            stack=self._stack,
            first_seconds=look.first_seconds,
        )
        device = torch.device(task.device)
        return DatasetSource(dataset, training.batch_size, seed, world, device=device, num_workers=num_workers)

    def views(self) -> Iterator[Views]:
        """Yield one clip after another, with all its groups of frames and crops."""
        task, look = self._task, self._look
        assert isinstance(look, FrameViews)
        dataset = ViewDataset(
            self._clips,
            frame_source(task, self._manifest, look, self._report, cache_bytes=0),
            TestCrops(look.crops, self.backbone.format, flow=self._flow),
            frames=look.frames,
            positions=look.positions,
            stack=self._stack,
            first_seconds=look.first_seconds,
            spacing=look.spacing,
        )
        loader = Loader[Tensor](
            dataset,
            batch_size=None,
            num_workers=loader_workers(task, look.flow, dataset.item_bytes),
            pin_memory=task.device != "cpu",
        )
        for number, views in enumerate(loader):
            parts = torch.split(views.to(task.device, non_blocking=True), max(1, MAX_FRAMES // look.frames))
            yield Views(np.array([number]), map(dataset.finish, parts))
