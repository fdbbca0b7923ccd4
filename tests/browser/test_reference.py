"""The interactive reference at `/docs`: drawn from vendored files, under its policy, and of use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Site
from tests.browser.test_pages import RULES

pytestmark = pytest.mark.xdist_group("browser")
DRAWN_MS = 60_000
"""Swagger UI draws all routes at once."""
THEIRS = frozenset({"button-name", "color-contrast", "nested-interactive", "scrollable-region-focusable"})
"""What axe-core finds serious in Swagger UI itself, of which nothing is ours; the last where an answer is long."""


@pytest.fixture(scope="module")
def asked() -> list[str]:
    return []


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What the console says, and errors of scripts."""
    return []


@pytest.fixture(scope="module")
def page(chromium: Browser, site: Site, asked: list[str], said: list[str]) -> Iterator[Page]:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.set_default_timeout(DRAWN_MS)
    page.goto(f"{site.url}/docs")
    expect(page.get_by_role("heading", name="twostream")).to_be_visible(timeout=DRAWN_MS)
    expect(page.locator(".opblock").last).to_be_visible(timeout=DRAWN_MS)
    yield page
    page.close()


def test_it_lists_every_chapter_and_asks_nobody_else(site: Site, page: Page, asked: list[str], said: list[str]) -> None:
    for chapter in ("experiments", "leaderboard", "datasets", "queue"):
        expect(page.locator(f"#operations-tag-{chapter}")).to_be_visible()
    assert [url for url in asked if not url.startswith((site.url, "data:"))] == []
    assert said == []


@pytest.mark.long  # it is drawn above, and asks nobody else
def test_a_request_can_be_tried(site: Site, page: Page, said: list[str]) -> None:
    listing = page.locator(".opblock", has=page.get_by_text("List all datasets by name")).first
    listing.locator(".opblock-summary-control").click()
    listing.get_by_role("button", name="Try it out").click()
    listing.get_by_role("button", name="Execute").click()
    answer = listing.locator(".live-responses-table .response").first
    expect(answer).to_contain_text("200")
    expect(answer).to_contain_text("motion_shapes")
    assert said == []


@pytest.mark.long  # Swagger UI's page is as large as the API
def test_axe_finds_nothing_serious_of_ours(page: Page) -> None:
    found = Axe().run(page, options=RULES).response["violations"]
    serious = {each["id"] for each in found if each["impact"] in ("serious", "critical")}
    assert serious <= THEIRS
