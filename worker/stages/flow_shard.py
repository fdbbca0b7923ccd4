"""What both flow stages share: the clips of a shard, which are finished, where their files go."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.errors import DataError
from services.pictures import spaced, spread, write_flow
from services.stages import FlowParams
from services.stores.files import link_file, write_atomically
from services.stores.names import key_path
from services.words import counted
from worker.contract import Reporter, Task
from worker.stages.strips import FLOW_CLIPS, FrameStrips, flow_strip
from worker.video.decoding.container import DecodeFailed
from worker.video.decoding.decode import FrameReader
from worker.video.decoding.limits import Limits
from worker.video.decoding.pixels import shrunk
from worker.video.flow.saturation import Saturation, sampled, saturated
from worker.video.flow.storage import FLOW_FILE, SUFFIXES, clip_key, encode_flow, open_flow
from worker.video.survey.manifest import Clip, read_manifest

FRAME_COUNTS_FILE = "clips.json"
"""The frames of each clip of a shard, by its id."""
STORE_FOLDER = "flow"
FLOW_FRAMES = 6
"""Fields of a clip whose flow is left for pictures."""


class Shard:
    """The clips of one flow stage.

    A finished clip lies in ``task.state``, where later attempts find it, and under its content address in
    ``task.data_root``, where the stages of other experiments and datasets on this host find it. Both are replaced
    atomically, and equal addresses hold equal bytes, so that workers need no lock. Checkpoints have the worker publish
    what is new in ``task.state``, so that a lost host costs no more than ``task.checkpoint_seconds`` and that upload.

    Args:
        task: the attempt.
        params: of the stage.
    """

    def __init__(self, task: Task, params: FlowParams) -> None:
        self.task, self.params = task, params
        manifest = read_manifest(task.input("index").path)
        self._manifest, self.root, self.limits = manifest, manifest.root, Limits.of(task)
        self.clips = manifest.clips[params.shard :: params.shards]
        self._method = {"kind": task.kind, **params.model_dump(mode="json", exclude={"shard", "shards", "resize"})}

    def run(self, compute: Callable[[list[Clip]], Iterator[Clip]], report: Reporter) -> dict[str, Any]:
        """Compute what is missing and publish the shard.

        Args:
            compute: yields clips as `store` has written them.
            report: told how many clips are finished, and of checkpoints, but of none at the end: the output follows.

        Returns:
            How many clips were computed now, found finished, how many fields the shard has, the ids of clips whose flow
            is kept for pictures, and the share of saturated pixels, None where the flow has no bound.
        """
        missing = [clip for clip in self.clips if not self._find(clip, report)]
        finished, total = len(self.clips) - len(missing), len(self.clips)
        report.progress(finished, total, "clips")
        saved_at = time.monotonic()
        for done, _ in enumerate(compute(missing), start=finished + 1):
            report.progress(done, total, "clips")
            if done < total and time.monotonic() - saved_at >= self.task.checkpoint_seconds:
                saved_at = time.monotonic()
                report.checkpoint(clips=done)
        for clip in self.clips:
            link_file(self._state(clip), self.task.output / self._name(clip))
        frames = {clip.id: clip.frames for clip in self.clips}
        write_atomically(self.task.output / FRAME_COUNTS_FILE, json.dumps(frames, sort_keys=True, indent=1).encode())
        pictured = self._write_pictures(report)
        saturation = self._write_manifest()
        if saturation.warning:
            report.warning(saturation.warning)
        found = {"clips": len(frames), "computed": len(missing), "found_finished": finished, "pictured": pictured}
        return {**found, "fields": sum(frames.values()) - len(frames), "saturated": saturation.share}

    def _write_pictures(self, report: Reporter) -> list[str]:
        """Leave flow of a few clips, for pictures, and return their ids."""
        strips, found = FrameStrips(self._manifest, FrameReader(1, self.task.threads, self.limits), report), []
        for place in spread([clip.label for clip in self.clips], -(-FLOW_CLIPS // self.params.shards)):
            clip = self.clips[place]
            fields = open_flow(self._state(clip))
            numbers = spaced(len(fields), FLOW_FRAMES)
            images = strips.images(clip, numbers.tolist())
            if images is not None:
                shown = fields[numbers]
                found.append(
                    flow_strip(clip, numbers.tolist(), images, shown, self.params.bound, self.params.quantization)
                )
        write_flow(self.task.output, found)
        return [strip.clip for strip in found]

    def _write_manifest(self) -> Saturation:
        """Write how the flow was made, its size, and the share of saturated pixels of each clip and of all."""
        saturation, clips = Saturation(self.params), {}
        for clip in self.clips:
            fields = open_flow(self._state(clip))
            share = saturated(fields[sampled(len(fields))]) if self.params.quantization == "linear" else None
            saturation.add(share or 0.0, len(fields))
            clips[clip.id] = {"size": [fields.shape[3], fields.shape[2]], "saturated": share}
        method = {**self._method, "resize": self.params.resize}
        content = {"method": method, "saturated": saturation.share, "clips": clips}
        write_atomically(self.task.output / FLOW_FILE, json.dumps(content, sort_keys=True, indent=1).encode())
        return saturation

    def path(self, clip: Clip) -> Path:
        """Return the file of a clip.

        Raises:
            DataError: it has a single frame, or its flow takes too much memory.
        """
        path = self.root / clip.path
        if clip.frames < 2:
            raise DataError(f"{path}: flow needs 2 frames, the clip has {clip.frames}")
        fields, components, height, width = self.shape(clip)
        self.limits.require_bytes(path, fields, width, height, components)
        return path

    def shape(self, clip: Clip) -> tuple[int, int, int, int]:
        """Return the shape of a clip's fields, (T - 1, 2, H, W)."""
        width, height = shrunk(clip.width, clip.height, self.params.resize)
        return clip.frames - 1, 2, height, width

    def check(self, clip: Clip, frames: int) -> None:
        """Refuse a clip that decodes to another number of frames than the manifest says."""
        if frames != clip.frames:
            raise DecodeFailed(
                self.path(clip), frames, f"the manifest has {counted(clip.frames, 'frame')}, {frames} decode"
            )

    def store(self, clip: Clip, fields: NDArray[np.uint8]) -> Clip:
        """Write the fields of a clip, uint8 (T - 1, 2, H, W), for later attempts and other stages."""
        content = encode_flow(fields, self.params.codec, self.params.jpeg_quality or 95)
        write_atomically(self._state(clip), content)
        address = self._address(clip)
        if address is not None and not address.exists():
            link_file(self._state(clip), address)
        return clip

    def _find(self, clip: Clip, report: Reporter) -> bool:
        """Tell whether a clip is finished, here or under its address."""
        file, address = self._state(clip), self._address(clip)
        if self._whole(file, clip, report):
            return True
        if address is None or not self._whole(address, clip, report):
            return False
        with contextlib.suppress(FileNotFoundError):  # a collection of the cache has just taken it
            link_file(address, file)
            os.utime(address)  # the last use, by which a collection of the cache goes
        return file.exists()

    def _whole(self, file: Path, clip: Clip, report: Reporter) -> bool:
        """Tell whether there is a file, and all of it; one that is wrong goes, with a warning.

        We write none in part, but a power cut may take the end of a file, and so may a store that writes in place.
        """
        try:
            wrong = self._wrong(file, clip)
        except FileNotFoundError:
            return False
        if wrong:
            report.warning(f"computed again: {wrong}")
            file.unlink(missing_ok=True)
        return not wrong

    def _wrong(self, file: Path, clip: Clip) -> str:
        """Say what is wrong with a file; nothing where it holds all of the clip's flow."""
        try:
            found = open_flow(file).shape
        except DataError as error:
            return str(error)
        expected = self.shape(clip)
        return "" if found == expected else f"{file}: fields of shape {found}, allowed: {expected}"

    def _name(self, clip: Clip) -> str:
        return f"{clip.id}{SUFFIXES[self.params.codec]}"

    def _state(self, clip: Clip) -> Path:
        return self.task.state / self._name(clip)

    def _address(self, clip: Clip) -> Path | None:
        if not clip.sha256:
            return None
        method = {"decoder": clip.decoder, **self._method}
        if self.shape(clip)[2:] != (
            clip.height,
            clip.width,
        ):  # else it is the flow that was made before there was a choice
            method["resize"] = self.params.resize
        key = clip_key(clip.sha256, method)
        return self.task.data_root / STORE_FOLDER / key_path(key, SUFFIXES[self.params.codec])
