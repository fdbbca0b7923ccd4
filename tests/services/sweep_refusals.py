"""What a sweep's spec refuses: changes of one that is sound, and the field, the value and what is allowed in words."""

from __future__ import annotations

from typing import Any

ONE = {"experiment": {"recipe": "demo_ts_lstm"}}
SWEEPS: list[tuple[dict[str, Any], str, object, str]] = [
    (
        {"space": {"seed": {"choices": [1], "low": 0}}},
        "space.seed",
        {"choices": [1], "low": 0},
        "choices, or low and high, and not both",
    ),
    ({"space": {"seed": {"choices": [1, 1]}}}, "space.seed.choices", [1, 1], "each value once"),
    ({"space": {"seed": {"low": 1}}}, "space.seed", {"low": 1}, "choices, or low and high"),
    ({"space": {"seed": {"low": 1, "high": 1}}}, "space.seed.high", 1, "above low = 1"),
    ({"space": {"seed": {"low": 0, "high": 1, "log": True}}}, "space.seed.low", 0, "above 0 with log"),
    (
        {"space": {"seed": {"low": 1, "high": 2, "step": 1, "log": True}}},
        "space.seed.step",
        1,
        "null with log",
    ),
    (
        {"space": {"seed": {"low": 1, "high": 2, "step": 3}}},
        "space.seed.step",
        3,
        "above 0 and at the most high - low = 1",
    ),
    (
        {"space": {"seed": {"low": 0, "high": 1, "step": 1e-7}}},
        "space.seed.step",
        1e-7,
        "one that makes up to 1000000 values of low to high",
    ),
    ({"budget": {"trials": None}}, "budget", {}, "trials, gpu_hours, or both"),
    ({"splits": [1, 1]}, "splits", [1, 1], "each value once"),
    (
        {"sampler": {"kind": "grid"}, "space": {"rate": {"low": 0.5, "high": 1.5}}},
        "space.rate",
        {"low": 0.5, "high": 1.5},
        "choices, whole numbers, or a step, with sampler grid",
    ),
]
"""Of sweeps over one experiment."""
