"""How fast are the networks, forward and backward, over their straightforward form and over their bare products?

The straightforward form follows the equations, with one convolution or product for each weight of each gate at each
step, by PyTorch's own operators and autograd. The floor is the matrix products that both passes cannot do without, on
operands that lie ready. All three are timed in turn, in the same run, and the best of the rounds is printed: a
neighbour on the machine can only slow a round down, and it slows many small operations on two threads (each waits for
both) more than a few large ones; ``--threads 1`` is steadier there. On a GPU the paper's batch is used, in bfloat16,
as it is and compiled.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.network_cases import CASES
from benchmarks.network_cases.case import Case, Parts, run_products

FLOOR_GOAL = 1.3
TOLERANCE = 1e-3  # of logits, float32, ours against the straightforward form


def trained(parts: Parts, logits: Callable[[], Tensor]) -> Callable[[], None]:
    """Return one forward and backward pass."""

    def run() -> None:
        parts.network.zero_grad(set_to_none=True)
        torch.autograd.backward(logits().float().square().mean())

    return run


def milliseconds(run: Callable[[], None], device: torch.device) -> float:
    """Return the milliseconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1000


def in_turn(runs: Sequence[Callable[[], None]], device: torch.device, rounds: int) -> list[float]:
    """Return the least milliseconds of each, timed in turn after a warm-up."""
    for run in runs:
        run()
    spent = [[milliseconds(run, device) for run in runs] for _ in range(rounds)]
    return [min(column) for column in zip(*spent, strict=True)]


def check(parts: Parts) -> float:
    """Return how far our logits are from the straightforward form's, relative to their largest."""
    with torch.no_grad():
        ours, theirs = parts.network(parts.inputs).logits, parts.straightforward(parts.inputs)
    distance = float((ours - theirs).abs().max() / theirs.abs().max())
    assert distance < TOLERANCE, f"the forms differ: {distance}"
    return distance


def on_processor(case: Case, batch: int, rounds: int) -> None:
    """Print a row in float32."""
    device = torch.device("cpu")
    parts = case.make(batch, device)
    check(parts)
    runs = [
        run_products(parts.products, device, torch.float32),
        trained(parts, lambda: parts.network(parts.inputs).logits),
        trained(parts, lambda: parts.straightforward(parts.inputs)),
    ]
    floor, ours, straightforward = in_turn(runs, device, rounds)
    speed = sum(product.operations for product in parts.products) / floor / 1e6
    goals = f"goals {'-' if case.goal is None else f'>= {case.goal}'}, <= {FLOOR_GOAL}"
    print(
        f"{case.name:16} batch {batch:3}, {case.size:24} ours {ours:8.0f} ms  straightforward {straightforward:8.0f} ms"
        f"  {straightforward / ours:5.2f} x as fast  floor {floor:8.0f} ms ({speed:4.0f} GFLOP/s)"
        f"  {ours / floor:5.2f} x floor  {goals}",
        flush=True,
    )


def on_gpu(case: Case, rounds: int) -> None:
    """Print a row in bfloat16, with peak memory; the compiled network beside."""
    device = torch.device("cuda")
    parts = case.make(case.gpu_batch, device)
    compiled = torch.compile(parts.network)

    def autocast(network: Callable[..., Tensor]) -> Callable[[], Tensor]:
        def logits() -> Tensor:
            with torch.autocast("cuda", torch.bfloat16):
                return network(parts.inputs)

        return logits

    runs = {
        "floor": run_products(parts.products, device, torch.bfloat16),
        "ours": trained(parts, autocast(lambda x: parts.network(x).logits)),
        "ours, compiled": trained(parts, autocast(lambda x: compiled(x).logits)),
        "straightforward": trained(parts, autocast(parts.straightforward)),
    }
    spent = dict(zip(runs, in_turn(list(runs.values()), device, rounds), strict=True))
    for name, run in runs.items():
        torch.cuda.reset_peak_memory_stats()
        run()
        peak = torch.cuda.max_memory_allocated() / 1e9
        print(
            f"{case.name:16} batch {case.gpu_batch:3}, {case.size:24} bfloat16  {name:16} {spent[name]:8.1f} ms"
            f"  {spent[name] / spent['floor']:5.2f} x floor  peak {peak:5.1f} GB",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="cases to time; all of them by default")
    parser.add_argument("--batch", type=int, help="videos in a batch on the processor")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(report.machine(), f"torch {torch.__version__}, {arguments.threads} threads", sep=", ", flush=True)
    for case in CASES:
        if arguments.names and case.name not in arguments.names:
            continue
        on_processor(case, arguments.batch or case.batch, arguments.rounds)
        if torch.cuda.is_available():
            on_gpu(case, arguments.rounds)


if __name__ == "__main__":
    main()
