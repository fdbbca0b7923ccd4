"""Files stay whole: what one makes for its tests is made once, by the one worker that runs them."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="needs pytest-xdist's workers")
def test_a_file_goes_to_one_worker(request: pytest.FixtureRequest) -> None:
    test, _, group = request.node.nodeid.partition("@")
    assert group == test.partition("::")[0]
