"""The gradients of a batch: of the whole at once, or added up over micro batches where memory is short."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from models.parts.moving_batch_norm import MovingBatchNorm2d
from services.errors import OutOfMemory, UserError
from services.specs import BATCH_NORM_REASON, BATCH_NORM_SAMPLES, TrainingSpec
from worker.contract import Reporter
from worker.training.batches import Batch, Inputs, to_device
from worker.training.distributed import World, wrap
from worker.training.loss import clip_probabilities, cross_entropy

logger = logging.getLogger(__name__)

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WORDS = 300
"""Of PyTorch's own account of a shortage, which goes on to its settings."""


class Gradients:
    """Computes gradients of the mean loss over a batch of all processes, and leaves them at the weights.

    Args:
        model: in training mode, on the device that trains.
        spec: batch size, micro batch, precision.
        world: this process among all that train the model.
        report: takes a warning where a micro batch is halved.

    Attributes:
        scaler: multiplies the loss where float16 needs it.
        micro_batch: samples that a process takes at once; None for its whole part of a batch.

    Raises:
        UserError: batch norm would see a single sample, or float16 is asked of a processor.
    """

    def __init__(self, model: nn.Module, spec: TrainingSpec, world: World, report: Reporter) -> None:
        self._module, self._world, self._report = model, world, report
        self._device = next(model.parameters()).device
        if spec.precision == "float16" and self._device.type == "cpu":
            raise UserError("precision: got 'float16' without a GPU, allowed there: 'float32', 'bfloat16'")
        self._least = BATCH_NORM_SAMPLES if takes_statistics(model) else 1
        _require("batch_size", spec.batch_size, self._least * world.size)
        self._precision, self._auto = PRECISIONS[spec.precision], spec.micro_batch == "auto"
        self.micro_batch: int | None = None
        if isinstance(spec.micro_batch, int):
            _require("micro_batch", spec.micro_batch, self._least)
            self.micro_batch = spec.micro_batch
        self._splits = spec.micro_batch is not None
        self._model = model if self._splits else wrap(model, world, self._device)
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.scaler = torch.amp.GradScaler(self._device.type, enabled=spec.precision == "float16")

    def compute(self, batch: Batch, seed: int) -> Tensor:
        """Leave the gradients of a batch at the weights.

        A batch that does not fit is tried again in halves, with the same random numbers, where the spec allows that.

        Args:
            batch: this process's part.
            seed: of random choices in it, such as dropout.

        Returns:
            ``(3,)`` float64: summed loss, hits, and samples of this process.

        Raises:
            OutOfMemory: it does not fit into memory.
        """
        if not self._splits:
            found, shortage = self._tried(batch, seed)
            if found is None:
                raise self._does_not_fit(len(batch.labels), shortage)
            return found
        buffers = list(self._module.buffers())
        self._world.give(buffers)
        while True:
            kept = [buffer.clone() for buffer in buffers] if self._auto else []
            found, shortage = self._tried(batch, seed)
            short = self._auto and self._world.agree(found is None)
            if found is not None and not short:
                self._world.average([weight.grad for weight in self._parameters if weight.grad is not None])
                return found
            self._halve(batch, shortage)
            for buffer, value in zip(buffers, kept, strict=True):
                buffer.copy_(value)

    def _tried(self, batch: Batch, seed: int) -> tuple[Tensor | None, str]:
        """Return the numbers of a batch, or None and what was short; nothing of it is held in memory then."""
        try:
            return self._added_up(batch, seed), ""
        except RuntimeError as error:
            if not _tells_of_memory(error):
                raise
            shortage = " ".join(str(error).split())[:WORDS]
        for weight in self._parameters:
            weight.grad = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None, shortage

    def _added_up(self, batch: Batch, seed: int) -> Tensor:
        torch.manual_seed(seed)
        for weight in self._parameters:
            weight.grad = None
        totals = torch.zeros(3, dtype=torch.float64, device=self._device)
        for part in self._parts(len(batch.labels)):
            totals += self._of_part(_rows(batch.inputs, part), batch.labels[part], batch.size)
        return totals

    def _of_part(self, inputs: Inputs, labels: Tensor, batch_size: int) -> Tensor:
        """Add the gradients of some samples of a batch; return their loss, hits and number."""
        inputs, labels = to_device(inputs, self._device), labels.to(self._device, non_blocking=True)
        with torch.autocast(self._device.type, self._precision, enabled=self._precision is not torch.float32):
            logits: Tensor = self._model(inputs).logits
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = cross_entropy(logits, labels)
        # Gradients are averaged over processes: times their number, the sum over the whole batch by its size is left.
        self.scaler.scale(loss * (self._world.size / batch_size)).backward()  # type: ignore[no-untyped-call]
        hits = (clip_probabilities(logits.detach()).argmax(1) == labels).sum()
        return torch.stack([loss.detach().double(), hits.double(), hits.new_tensor(len(labels)).double()])

    def _parts(self, count: int) -> Iterator[slice]:
        """Cut samples into parts of a micro batch at most, or of one sample more than batch norm would see alone."""
        size = self.micro_batch or count
        parts = max(1, min(-(-count // size), count // self._least))
        for number in range(parts):
            yield slice(count * number // parts, count * (number + 1) // parts)

    def _halve(self, batch: Batch, shortage: str) -> None:
        taken = min(self.micro_batch or batch.size, -(-batch.size // self._world.size))  # in every process the same
        halved = -(-taken // 2)
        if not self._auto or halved < self._least or taken == 1:
            raise self._does_not_fit(taken, shortage)
        words = f"out of memory with {taken} samples at once, going on with micro batches of {halved}: {shortage}"
        logger.warning(words)
        self._report.warning(words)
        self.micro_batch = halved

    def _does_not_fit(self, samples: int, shortage: str) -> OutOfMemory:
        hint = "a smaller network or input" if self._auto else "micro_batch: auto, or a smaller batch_size"
        words = shortage or "in another process"
        return OutOfMemory(f"{samples} samples at once do not fit into memory: {words}; hint: {hint}")


def takes_statistics(model: nn.Module) -> bool:
    """Say whether a network has batch norms that normalise by the batch."""
    return any(hasattr(part, "running_mean") and not isinstance(part, MovingBatchNorm2d) for part in model.modules())


def _require(field: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"{field}: got {value}, allowed: at least {least}, {BATCH_NORM_REASON}")


def _rows(inputs: Inputs, part: slice) -> Inputs:
    return {name: values[part] for name, values in inputs.items()} if isinstance(inputs, dict) else inputs[part]


def _tells_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
