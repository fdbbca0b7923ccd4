"""Stage ``finetune``: a ConvNet of one stream learns the classes of a split from single frames or flow stacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models import ConvNet
from models.backbones import Backbone
from services.stages import FinetuneParams
from worker.contract import Reporter, Task
from worker.stages.backbone import build_backbone, frame_source
from worker.stages.held_out import Trial, held_out_of
from worker.stages.loaders import loader_workers
from worker.stages.outputs import summary, write_model
from worker.stages.seen import doubt_of, seen_now
from worker.stages.splits import Division, divide
from worker.stages.start import seen_by_file, start_convnet
from worker.training.batches import DatasetSource
from worker.training.distributed import World, joined
from worker.training.interrupt import interrupt
from worker.training.loader import Loader
from worker.training.loop import Loop, seed_everything
from worker.training.loss import cross_entropy
from worker.training.selection import Tried
from worker.video.input.dataset import CACHE_BYTES, ClipDataset, FrameDataset
from worker.video.input.transforms import TestTransform, TrainTransform, Transform
from worker.video.survey.manifest import Clip, Manifest, read_manifest

TRIED_CLIPS = 64
"""Of those that are held out, whose frames go through the network at once."""


def run(task: Task, params: FinetuneParams, report: Reporter) -> dict[str, Any]:
    """Train the ConvNet of one stream and split; writes ``model.pt`` (a state dict) and ``history.json``.

    Returns:
        What `summary` says.

    Raises:
        Interrupted: asked to stop; a checkpoint lies in the state folder.
        UserError: no such split, weights that do not fit, a loss that diverges.
        DataError: a clip or its flow is missing or broken.
    """
    seed_everything(params.seed)
    manifest = read_manifest(task.input("index").path)
    division = divide(manifest, params.split, params.training, params.seed, params.held_out_by)
    device = torch.device(task.device)
    backbone = build_backbone(params.backbone, params.stream, params.flow_stack)
    if params.fc6_dropout is not None:
        backbone.drop(params.fc6_dropout)
    model = ConvNet(num_classes=len(manifest.classes), backbone=backbone, dropout=params.dropout)
    start = start_convnet(task, model)
    model.to(device)
    with joined(device) as world:
        history = Loop(
            model,
            _source(task, params, manifest, division, backbone, world, report),
            params.training,
            seed=params.seed,
            state=task.state,
            report=report,
            should_stop=lambda: interrupt.requested,
            world=world,
            held_out=held_out_of(division, params.training, world, trial_of(task, params, manifest, backbone, report)),
        ).run()
        before = seen_by_file(params.backbone).then(start.seen)
        if world.leads:
            write_model(task, model, history, before.then(seen_now(manifest, params)))
    doubt = doubt_of(manifest, params, division.held_out, before)
    return summary(model, history, division, params.training, start.dropped) | doubt


def trial_of(
    task: Task, params: FinetuneParams, manifest: Manifest, backbone: Backbone, report: Reporter
) -> Callable[[list[Clip]], Trial]:
    """Return what makes a trial on clips, each of which is seen once: the centre of its middle frame.

    Args:
        task: says where frames come from.
        params: of the training.
        manifest: of the dataset.
        backbone: whose input the frames are.
        report: takes warnings.
    """

    def of_share(clips: list[Clip]) -> Trial:
        dataset = ClipDataset(
            clips,
            frame_source(task, manifest, params, report, cache_bytes=0),
            TestTransform(backbone.format),
            frames=1,
            stack=max(1, params.flow_stack),
            first_seconds=params.first_seconds,
        )
        num_workers = loader_workers(task, params.flow, TRIED_CLIPS * backbone.format.num_bytes)
        loader = Loader[Tensor](
            dataset, batch_size=TRIED_CLIPS, num_workers=num_workers, pin_memory=task.device != "cpu"
        )
        labels = torch.tensor([clip.label for clip in clips])

        def trial(model: nn.Module) -> Tried:
            with torch.inference_mode():
                frames = (dataset.finish(found.flatten(0, 1).to(task.device)) for found in loader)
                logits = torch.cat([model(inputs).logits.float().cpu() for inputs in frames])
            hits = int((logits.argmax(1) == labels).sum())
            return Tried(float(cross_entropy(logits, labels)), hits, len(clips))

        return trial

    return of_share


def _source(
    task: Task,
    params: FinetuneParams,
    manifest: Manifest,
    division: Division,
    backbone: Backbone,
    world: World,
    report: Reporter,
) -> DatasetSource:
    batch_bytes = backbone.format.num_bytes * -(-params.training.batch_size // world.size)
    num_workers = loader_workers(task, params.flow, batch_bytes)
    cache_bytes = CACHE_BYTES // max(1, num_workers)
    dataset = FrameDataset(
        division.train,
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
