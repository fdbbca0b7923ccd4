"""A stage that computes with torch on several threads, which would hang if its zygote had done so before the fork."""

from __future__ import annotations

import os
from typing import Any

import torch

from services.params import Params
from worker.contract import Reporter, Task

IMPORTED_BY = os.getpid()


def run(task: Task, params: Params, report: Reporter) -> dict[str, Any]:
    report.progress(0, 1)
    product = torch.ones(256, 256) @ torch.ones(256, 256)
    return {"product": float(product[0, 0]), "threads": torch.get_num_threads(), "imported_by": IMPORTED_BY}
