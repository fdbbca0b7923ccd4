"""The stack of this machine."""

from __future__ import annotations


def test_up_refuses_a_device_before_it_starts_anything(twostream):
    words = "twostream: --device: got 'tpu', allowed: auto, cpu or cuda:N\n"
    assert twostream("up", "--device", "tpu") == (2, "", words)
