"""Stage ``finetune``: a ConvNet of one stream learns the classes of a split from single frames or flow stacks."""

from __future__ import annotations

from typing import Any

import torch

from models import ConvNet
from models.backbones import Backbone
from services.stages import FinetuneParams
from worker.contract import Reporter, Task
from worker.stages.backbone import build_backbone, frame_source
from worker.stages.loaders import loader_workers
from worker.stages.outputs import summary, write_model
from worker.stages.seen import training_of
from worker.stages.splits import clips_of
from worker.stages.start import seen_by_file, start_convnet
from worker.training.batches import DatasetSource
from worker.training.distributed import World, joined
from worker.training.interrupt import interrupt
from worker.training.loop import Loop, seed_everything
from worker.video.input.dataset import CACHE_BYTES, FrameDataset
from worker.video.input.transforms import TestTransform, TrainTransform, Transform
from worker.video.survey.manifest import Manifest, read_manifest


def run(task: Task, params: FinetuneParams, report: Reporter) -> dict[str, Any]:
    """Train the ConvNet of one stream and split; writes ``model.pt`` (a state dict) and ``history.json``.

    Returns:
        ``epochs``, ``train_loss``, ``train_accuracy``, ``train_clips`` and ``parameters``; ``dropped``, the names of
        the weights that are left out of those that it starts from, such as a classifier of other classes.

    Raises:
        Interrupted: asked to stop; a checkpoint lies in the state folder.
        UserError: no such split, weights that do not fit, a loss that diverges.
        DataError: a clip or its flow is missing or broken.
    """
    seed_everything(params.seed)
    manifest = read_manifest(task.input("index").path)
    device = torch.device(task.device)
    backbone = build_backbone(params.backbone, params.stream, params.flow_stack)
    if params.fc6_dropout is not None:
        backbone.drop(params.fc6_dropout)
    model = ConvNet(num_classes=len(manifest.classes), backbone=backbone, dropout=params.dropout)
    start, clips = start_convnet(task, model), clips_of(manifest, params.split, "train")
    model.to(device)
    with joined(device) as world:
        history = Loop(
            model,
            _source(task, params, manifest, backbone, world, report),
            params.training,
            seed=params.seed,
            state=task.state,
            report=report,
            should_stop=lambda: interrupt.requested,
            world=world,
        ).run()
        if world.leads:
            before = seen_by_file(params.backbone).then(start.seen)
            write_model(task, model, history, before.then(training_of(manifest, params.split, clips)))
    return summary(model, history, len(clips), start.dropped)


def _source(
    task: Task, params: FinetuneParams, manifest: Manifest, backbone: Backbone, world: World, report: Reporter
) -> DatasetSource:
    batch_bytes = backbone.format.num_bytes * -(-params.training.batch_size // world.size)
    num_workers = loader_workers(task, params.flow, batch_bytes)
    cache_bytes = CACHE_BYTES // max(1, num_workers)
    dataset = FrameDataset(
        clips_of(manifest, params.split, "train"),
        frame_source(task, manifest, params, report, cache_bytes),
        _transform(params, backbone),
        seed=params.seed,
        samples_per_clip=params.samples_per_clip,
        first_seconds=params.first_seconds,
    )
    return DatasetSource(
        dataset,
        params.training.batch_size,
        params.seed,
        world,
        device=torch.device(task.device),
        num_workers=num_workers,
    )


def _transform(params: FinetuneParams, backbone: Backbone) -> Transform:
    augmentation = params.augmentation
    if augmentation is None:
        return TestTransform(backbone.format)
    return TrainTransform(
        backbone.format,
        flow=params.stream == "flow",
        min_area=augmentation.min_area,
        flip=augmentation.flip,
        invert_flow_on_flip=augmentation.invert_flow_on_flip,
        jitter=augmentation.jitter,
    )
