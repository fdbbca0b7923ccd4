"""Pages as people see them: wide and narrow, light and dark, under axe-core, without a request beyond the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SCRIPT, Site, end
from tests.services.conftest import Decreed

pytestmark = pytest.mark.xdist_group("browser")

SERIOUS = ("serious", "critical")
DRAWN = (
    """() => Promise.all([...document.images].map((image) => { image.loading = "eager"; return image.decode(); }))"""
)
"""Waits for the pictures below the fold too."""
PICTURES = os.environ.get("PAGE_PICTURES")
"""Folder for a picture of each page; none are taken without it."""


class Look(NamedTuple):
    """How a reader sees a page."""

    width: int
    scheme: Literal["light", "dark"]


LOOKS = (Look(390, "light"), Look(390, "dark"), Look(1280, "dark"), Look(1280, "light"))
EXAMINED = LOOKS[1::2]
"""Each width and each scheme once: axe-core takes seconds."""
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], "resultTypes": ["violations"]}
ADDRESSES = {
    "leaderboard": "/?stream=two-stream&split=1",
    "experiments": "/experiments",
    "finished": "/experiments/{finished}",
    "failed": "/experiments/{failed}",
    "cancelled": "/experiments/{cancelled}",
    "running": "/experiments/{running}",
    "queue": "/queue",
    "workers": "/workers",
    "datasets": "/datasets",
    "dataset": "/datasets/motion_shapes",
    "recipes": "/recipes",
    "recipe": "/recipes/tsn_ucf101",
    "models": "/models",
    "compare": "/compare?left={finished}&right={finished}",
    "papers": "/papers",
    "paper_table": "/papers/ts_lstm/tables/2",
    "missing": "/experiments/exp_404",
}


class Tab(NamedTuple):
    """A tab of the browser, with what it has asked for, and the errors of its scripts."""

    page: Page
    asked: list[str]
    broken: list[str]

    def open(self, address: str, status: int = 200) -> Page:
        """Go to an address, and wait for what stands there at once."""
        self.asked.clear()
        self.broken.clear()
        answer = self.page.goto(address)
        assert answer is not None
        assert answer.status == status
        return self.page


@pytest.fixture(scope="module")
def tab(chromium: Browser) -> Iterator[Tab]:
    """The tab that all tests share."""
    page = chromium.new_page()
    found = Tab(page, [], [])
    page.on("request", lambda request: found.asked.append(request.url))
    page.on("pageerror", lambda error: found.broken.append(str(error)))
    yield found
    page.close()


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_page_is_fit_to_read(site: Site, tab: Tab, name: str) -> None:
    page = tab.open(site.url + ADDRESSES[name].format(**site.ids), 404 if name == "missing" else 200)
    for look in LOOKS:
        page.set_viewport_size({"width": look.width, "height": 900})
        page.emulate_media(color_scheme=look.scheme)
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{look}: {overflow} px too wide"
        if look in EXAMINED:
            found = Axe().run(page, options=RULES).response["violations"]
            serious = [
                (each["id"], [node["html"] for node in each["nodes"]]) for each in found if each["impact"] in SERIOUS
            ]
            assert serious == [], look
            if PICTURES:
                page.evaluate(DRAWN)
                page.screenshot(path=Path(PICTURES) / f"{name}-{look.width}-{look.scheme}.png", full_page=True)
    assert [url for url in tab.asked if not url.startswith((site.url, "data:"))] == []
    assert tab.broken == []
    assert page.evaluate("window.ran") is None


def test_what_somebody_typed_is_shown_as_text(site: Site, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{site.url}/experiments/{site.ids['failed']}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"breaks {SCRIPT}")
    expect(page.get_by_text(f"SizeError: {SCRIPT}")).to_be_visible()
    for field in ("name", "owner", "dataset", "model"):
        page.goto(f"{site.url}/experiments?{field}={SCRIPT}")
        assert page.evaluate("window.ran") is None
    page.goto(f"{site.url}/datasets/{SCRIPT.replace('/', '')}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not Found")
    assert page.evaluate("window.ran") is None


def test_a_person_finds_what_matters(site: Site, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{site.url}/experiments?state=failed")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="breaks").click()
    expect(page.locator("#status")).to_contain_text("weights of another shape")
    expect(page.get_by_role("heading", name="Last words")).to_be_visible()
    page.goto(f"{site.url}/experiments/{site.ids['finished']}")
    expect(page.get_by_role("row", name="two-stream").first).to_contain_text(".")
    expect(page.get_by_text("training.epochs")).to_be_visible()
    expect(page.locator("section:has(#clone) pre").first).to_contain_text("recipe: demo_ts_lstm")
    expect(page.locator(".picture img").first).to_be_visible()
    assert page.locator(".chart polyline").count() > 4
    page.goto(f"{site.url}/queue")
    expect(page.get_by_role("table", name="").last).to_contain_text("needs")
    page.goto(f"{site.url}/experiments?name=shapes&owner=nobody")
    expect(page.get_by_text("No experiment is so")).to_be_visible()


def test_a_run_is_watched_from_submission_to_result(site: Site, tab: Tab) -> None:
    page, worker = tab.page, Decreed(site.database, "worker-1")
    worker.run_all(lambda claim: end(site.database, worker, claim))
    made = site.submit(name="watched", seeds=[8])
    page.goto(f"{site.url}/experiments/{made}")
    expect(page.locator("#status")).to_contain_text("queued")
    expect(page.get_by_text("None until scores are fused")).to_be_visible()
    first = worker.claim_any()
    assert first is not None
    expect(page.locator("#status")).to_contain_text("running", timeout=15_000)
    end(site.database, worker, first)
    worker.run_all(lambda claim: end(site.database, worker, claim))
    expect(page.locator("#status")).to_contain_text("succeeded", timeout=15_000)
    expect(page.get_by_role("row", name="two-stream").first).to_be_visible()
    expect(page.locator(".picture img").first).to_be_visible()
    assert page.locator(".chart polyline").count() > 4
