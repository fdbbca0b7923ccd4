"""What takes half an hour runs when it is asked for."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests of the marker `scale` unless it is named."""
    if "scale" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("scale"):
            item.add_marker(pytest.mark.skip(reason="takes half an hour: make scale"))
