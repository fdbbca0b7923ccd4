"""Pages by keyboard alone, and four times as large: as those read them who use no mouse, or see little."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Site
from tests.browser.test_pages import ADDRESSES, DRAWN

pytestmark = pytest.mark.xdist_group("browser")

OFTEN = ("leaderboard", "finished", "compare_three", "paper_table", "missing")
"""Pages that have every kind of part."""
MOST_STEPS = 400
NARROW = 320
"""Pixels of a window of 1,280 that shows everything four times as large."""
FOCUSED = """() => {
    const part = document.activeElement;
    if (!part || part === document.body) return null;
    const box = part.getBoundingClientRect(), style = getComputedStyle(part);
    const all = [...document.querySelectorAll("*")];
    return {
        place: all.indexOf(part),
        html: part.outerHTML.slice(0, 120),
        seen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight
            && box.right > 0 && box.left < innerWidth,
        ringed: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
    };
}"""


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page()
    yield page
    page.close()


def walked(page: Page) -> list[dict[str, Any]]:
    """Return what has the focus, step by step, until it comes back to the page's beginning."""
    found: list[dict[str, Any]] = []
    for _ in range(MOST_STEPS):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None or (found and focused["place"] == found[0]["place"]):
            return found
        found.append(focused)
    raise AssertionError(f"no end after {MOST_STEPS} steps: {found[-1]['html']}")


@pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.long) for name in ADDRESSES]
)
def test_every_step_is_seen_and_follows_the_text(site: Site, page: Page, name: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(site.url + ADDRESSES[name].format(**site.ids))
    page.evaluate(DRAWN)  # a picture that comes later moves what is below it
    steps = walked(page)
    assert "skip" in steps[0]["html"]
    assert [step["html"] for step in steps if not step["seen"]] == []
    assert [step["html"] for step in steps if not step["ringed"]] == []
    places = [step["place"] for step in steps]
    assert places == sorted(places)
    page.set_viewport_size({"width": NARROW, "height": 256})
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
