"""The training loop of ``finetune`` and ``train``: plain PyTorch, resumable at any step, equal bit for bit on a CPU.

What a step does depends on the weights, the optimiser's state and (seed, epoch, step) alone: the order of samples is
drawn from (seed, epoch), and dropout from a generator that each step seeds anew. So a checkpoint holds no generator's
state, and a run that was killed and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from services.errors import UserError
from services.specs import TrainingSpec
from services.words import counted
from worker.contract import Reporter
from worker.training import checkpoint
from worker.training.batches import Batch, BatchSource
from worker.training.distributed import World
from worker.training.gradients import Gradients
from worker.training.interrupt import Interrupted
from worker.training.layers import parameter_groups
from worker.training.optim import build_optimizer, clip_gradients, set_learning_rate
from worker.training.schedule import History, learning_rate
from worker.training.selection import HeldOut, best_epoch, is_over

NEVER = 2**62
LOOK_STEPS = 20
"""Between two looks at whether all losses were finite numbers, each of which waits for a GPU."""


def seed_everything(seed: int) -> None:
    """Seed PyTorch before a model draws its first weights, and choose deterministic kernels where there are some."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


class Loop:
    """Trains a classifier by cross-entropy.

    Args:
        model: maps a batch's inputs to an output with ``logits (n, K)`` or ``(n, T, K)``; on the device that trains.
        source: the training samples.
        spec: length, optimiser, schedule, precision, checkpoint intervals.
        seed: of the experiment.
        state: folder of ``checkpoint.pt``, from which the loop goes on if it is there.
        report: takes progress, metrics and checkpoints of the leading process.
        should_stop: read at every step; True has the loop write a checkpoint and raise ``Interrupted``.
        world: this process among all that train the model.
        held_out: clips that are tried after every epoch; they may choose the epoch that is kept. None keeps the last.
    """

    def __init__(
        self,
        model: nn.Module,
        source: BatchSource,
        spec: TrainingSpec,
        *,
        seed: int,
        state: Path,
        report: Reporter,
        should_stop: Callable[[], bool],
        world: World,
        held_out: HeldOut | None = None,
    ) -> None:
        self._module, self._source, self._spec, self._seed = model, source, spec, seed
        self._path, self._report = state / checkpoint.CHECKPOINT_FILE, report
        self._should_stop, self._world, self._held_out = should_stop, world, held_out
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._device = self._parameters[0].device
        self._optimizer = build_optimizer(parameter_groups(model, spec), spec.optimizer)
        self._gradients = Gradients(model.train(), spec, world, report)
        self._epoch, self._step = 1, 0  # the epoch under way, and its steps done
        self._totals = torch.zeros(3, dtype=torch.float64, device=self._device)  # loss, hits, samples of the epoch
        self._diverged = torch.tensor(NEVER, device=self._device)  # its first step whose loss is no finite number
        self._kept = "no checkpoint was written"
        self._seconds, self._waited = 0.0, 0.0
        self._history: History = []
        self._best: dict[str, Tensor] | None = None  # the weights of the best epoch, in the leading process

    def run(self) -> History:
        """Train to the last epoch, or to the last iteration, which may lie inside an epoch; leave the weights to keep.

        Returns:
            For each epoch ``epoch``, ``train_loss`` (mean over samples), ``train_accuracy`` (0 to 1, while training),
            ``learning_rate`` (of its last step), ``epoch_seconds`` and ``data_wait_ratio`` (0 to 1, time spent waiting
            for batches), and with clips held out ``validation_loss`` and ``validation_accuracy``, or those of ``test``.

        Raises:
            Interrupted: ``should_stop`` said so; a checkpoint lies in the state folder.
            UserError: the loss or a weight is no longer a finite number; the last checkpoint before is kept.
            OutOfMemory: a step does not fit into memory.
        """
        if self._path.exists():
            self._resume()
        while not self._finished:
            self._run_epoch()
        if self._best is not None:
            self._module.load_state_dict(self._best)
        if self._left:
            words = f"ended after epoch {len(self._history)}: no gain in {counted(self._spec.patience or 0, 'epoch')}"
            self._report.progress(self._total, self._total, "steps", words)
        return self._history

    @property
    def _finished(self) -> bool:
        """Whether nothing is left to do, or there was no gain for too long."""
        if self._step > 0:
            return False  # its epoch is not finished
        over = self._choosing is not None and is_over(self._history, self._choosing.metric, self._spec.patience)
        return over or not self._left

    @property
    def _choosing(self) -> HeldOut | None:
        """The clips that choose an epoch, where some do."""
        return self._held_out if self._held_out is not None and self._held_out.chooses else None

    @property
    def _total(self) -> int:
        """Steps of the whole training."""
        return self._spec.iterations or self._spec.epochs * self._source.steps

    @property
    def _done(self) -> int:
        """Steps that are done, over all epochs."""
        return (self._epoch - 1) * self._source.steps + self._step

    @property
    def _left(self) -> int:
        """Steps that are to be done."""
        return max(0, self._total - self._done)

    def _run_epoch(self) -> None:
        started, before = time.perf_counter(), self._seconds
        for batch in self._timed(islice(self._source.batches(self._epoch, self._step), self._left)):
            set_learning_rate(self._optimizer, self._rate(self._done + 1))
            self._train_step(batch)
            self._step += 1
            self._seconds = before + time.perf_counter() - started
            self._report_progress()
            if (self._step < self._source.steps and self._left) or self._held_out is not None:
                self._pause()
        self._finish_epoch()

    def _rate(self, iteration: int) -> float:
        return learning_rate(self._spec, self._history, iteration)

    def _timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Pass batches on and add up the time spent waiting for them."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(iterator, None)
            self._waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def _train_step(self, batch: Batch) -> None:
        found = self._gradients.compute(batch, _step_seed(self._seed, self._epoch, self._step, self._world.rank))
        scaler = self._gradients.scaler
        scaler.unscale_(self._optimizer)
        clip_gradients(self._parameters, self._spec.optimizer)
        scaler.step(self._optimizer)
        scaler.update()
        self._totals += found
        first = torch.where(found[0].isfinite(), NEVER, self._step + 1)
        self._diverged = torch.minimum(self._diverged, first)
        if (self._step + 1) % LOOK_STEPS == 0:
            self._require_finite_losses()

    def _require_finite_losses(self) -> None:
        step = self._world.least(int(self._diverged.item()))
        if step < NEVER:
            raise self._divergence("a loss", step)

    def _require_finite(self) -> None:
        """Refuse to go on, or to overwrite a checkpoint, from weights that are no finite numbers."""
        self._require_finite_losses()
        weights = [weight.detach() for weight in self._parameters]
        finite = torch.stack(torch._foreach_norm(weights, float("inf"))).isfinite().all()
        if self._world.agree(not bool(finite)):
            raise self._divergence("a weight", self._step)

    def _divergence(self, what: str, step: int) -> UserError:
        rate = self._rate((self._epoch - 1) * self._source.steps + step)
        return UserError(
            f"training diverged: step {step} of epoch {self._epoch}, at a learning rate of {rate:g}, left {what}"
            f" that is no finite number; {self._kept}; hint: lower optimizer.learning_rate or set optimizer.clip_norm"
        )

    def _pause(self) -> None:
        """Between two steps of an epoch: stop if asked to, write a checkpoint if one is due."""
        interval = self._spec.checkpoint_steps
        stop = self._world.agree(self._should_stop())
        if stop or (interval is not None and self._step % interval == 0):
            self._require_finite()
            self._save()
        if stop:
            raise Interrupted(f"stopped in epoch {self._epoch} after step {self._step}")

    def _finish_epoch(self) -> None:
        self._require_finite()
        loss, hits, samples = self._world.sum(self._totals).tolist()
        values = {
            "train_loss": loss / samples,
            "train_accuracy": hits / samples,
            "learning_rate": self._rate(self._done),
            "epoch_seconds": self._seconds,
            "data_wait_ratio": self._waited / max(self._seconds, 1e-9),
        }
        self._history.append({"epoch": self._epoch, **values, **self._tried()})
        self._keep_the_best()
        self._report_epoch(self._history[-1])
        stop = self._world.agree(self._should_stop())
        due = self._epoch % self._spec.checkpoint_epochs == 0
        self._epoch, self._step, self._seconds, self._waited = self._epoch + 1, 0, 0.0, 0.0
        self._totals.zero_()
        if stop or due:
            self._save()
        if stop and not self._finished:
            raise Interrupted(f"stopped after epoch {self._epoch - 1}")

    def _tried(self) -> dict[str, float]:
        """Return the mean loss and the accuracy on the clips that are held out."""
        if self._held_out is None:
            return {}
        self._world.give(list(self._module.buffers()))
        own = self._held_out.trial(self._module.eval())
        self._module.train()
        loss, hits, clips = self._world.sum(torch.tensor(own, dtype=torch.float64, device=self._device)).tolist()
        return {f"{self._held_out.name}_loss": loss / clips, self._held_out.metric: hits / clips}

    def _keep_the_best(self) -> None:
        if self._choosing is None or not self._world.leads:
            return
        if best_epoch(self._history, self._choosing.metric) == self._epoch:
            self._best = {name: value.to("cpu", copy=True) for name, value in self._module.state_dict().items()}

    def _report_epoch(self, row: dict[str, float]) -> None:
        self._report.metrics(int(row["epoch"]), {name: value for name, value in row.items() if name != "epoch"})

    def _report_progress(self) -> None:
        epochs = -(-self._total // self._source.steps)
        self._report.progress(self._done, self._total, "steps", f"epoch {self._epoch}/{epochs}")

    def _save(self) -> None:
        totals = self._world.sum(self._totals)
        if self._world.leads:
            self._write(totals)
        self._world.meet()  # whoever stops now and starts again finds the file
        self._note_kept()

    def _note_kept(self) -> None:
        self._kept = f"the checkpoint of epoch {self._epoch}, step {self._step} is kept"

    def _write(self, totals: Tensor) -> None:
        content = {
            "model": self._module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._gradients.scaler.state_dict(),
            "micro_batch": self._gradients.micro_batch,
            "epoch": self._epoch,
            "step": self._step,
            "totals": totals,
            "seconds": self._seconds,
            "waited": self._waited,
            "history": self._history,
            "best": self._best,
        }
        checkpoint.save(self._path, content)
        self._report.checkpoint(epoch=self._epoch, step=self._step)

    def _resume(self) -> None:
        content = checkpoint.load(self._path)
        self._module.load_state_dict(content["model"])
        self._optimizer.load_state_dict(content["optimizer"])
        self._gradients.scaler.load_state_dict(content["scaler"])
        self._gradients.micro_batch = content.get("micro_batch", self._gradients.micro_batch)
        self._epoch, self._step = content["epoch"], content["step"]
        if self._world.leads:  # the sum over all processes, which one alone may go on with
            self._totals.copy_(content["totals"])
        self._seconds, self._waited = content["seconds"], content["waited"]
        self._note_kept()
        self._history = content["history"]
        self._best = content.get("best") if self._world.leads else None
        for row in self._history:  # whoever was killed may have taken reports with it; what is known is told once
            self._report_epoch(row)


def _step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """Mix four numbers into the 64-bit seed of one step's random choices."""
    digest = hashlib.blake2b(f"{seed} {epoch} {step} {rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
