"""Pages as people see them: wide and narrow, light and dark, under axe-core, without a request beyond the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FloatRect, Page, expect

from tests.browser.conftest import SCRIPT, Site, end
from tests.services.conftest import Decreed
from tests.services.pictured import CLIPS

pytestmark = pytest.mark.xdist_group("browser")

SERIOUS = ("serious", "critical")
DRAWN = (
    """() => Promise.all([...document.images].map((image) => { image.loading = "eager"; return image.decode(); }))"""
)
"""Waits for the pictures below the fold too."""
PICTURES = os.environ.get("PAGE_PICTURES")
"""Folder for pictures of some pages; none are taken without it."""
PICTURED = (
    "leaderboard",
    "experiments",
    "finished",
    "failed",
    "running",
    "compare",
    "compare_three",
    "dataset",
    "registered",
    "paper",
    "workers",
    "queue",
)
"""Pages of which `docs/pages.md` has pictures."""
TALLEST = {390: 1500, 1280: 1100}
"""Of a picture of a width, in pixels; what is below is cut off."""


PAPER = 720
"""Pixels between the margins of a page of A4."""
CUT_OFF = """() => [document.documentElement, ...document.querySelectorAll("main, main .scroll, main .code, main div")]
    .filter((part) => part.scrollWidth > part.clientWidth + 1 && part.clientWidth)
    .concat([...document.querySelectorAll("main .code")].filter((part) => part.scrollHeight > part.clientHeight + 1))
    .map((part) => part.outerHTML.slice(0, 200))"""
"""Finds what is wider or higher than its place."""


class Look(NamedTuple):
    """How a reader sees a page."""

    width: int
    scheme: Literal["light", "dark"]


LOOKS = (Look(390, "light"), Look(390, "dark"), Look(1280, "dark"), Look(1280, "light"))
SHOWN = LOOKS[1::2]
"""Those of the pictures."""
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], "resultTypes": ["violations"]}
ADDRESSES = {
    "leaderboard": "/?stream=two-stream&split=1",
    "experiments": "/experiments",
    "finished": "/experiments/{finished}",
    "failed": "/experiments/{failed}",
    "cancelled": "/experiments/{cancelled}",
    "running": "/experiments/{running}",
    "pictured": "/experiments/{pictured}",
    "queue": "/queue",
    "workers": "/workers",
    "sweeps": "/sweeps",
    "datasets": "/datasets",
    "registered": "/datasets/registered",
    "dataset": "/datasets/motion_shapes",
    "recipes": "/recipes",
    "recipe": "/recipes/tsn_ucf101",
    "models": "/models",
    "compare": "/compare?left={finished}&right={other}",
    "compare_three": "/compare?experiment={finished}&experiment={other}&experiment={third}",
    "papers": "/papers",
    "paper": "/papers/ts_lstm",
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
def shared(chromium: Browser) -> Iterator[Tab]:
    """The tab that all tests share."""
    page = chromium.new_page()
    found = Tab(page, [], [])
    page.on("request", lambda request: found.asked.append(request.url))
    page.on("pageerror", lambda error: found.broken.append(str(error)))
    yield found
    page.close()


@pytest.fixture
def tab(shared: Tab) -> Tab:
    """That tab, wide and light, however the test before left it."""
    _seen_as(shared.page, LOOKS[-1])
    return shared


def _seen_as(page: Page, look: Look) -> None:
    page.set_viewport_size({"width": look.width, "height": 900})
    page.emulate_media(color_scheme=look.scheme, forced_colors="none")


def cases() -> Iterator[object]:
    """Yield the pages with their looks: one look a page, and all four over the pages; the others take long, since
    axe-core takes seconds."""
    for number, name in enumerate(ADDRESSES):
        for look in LOOKS:
            marks = () if look == LOOKS[number % len(LOOKS)] else pytest.mark.long
            yield pytest.param(name, look, marks=marks, id=f"{name}-{look.width}-{look.scheme}")


@pytest.mark.parametrize(("name", "look"), [*cases()])
def test_a_page_is_fit_to_read(site: Site, tab: Tab, name: str, look: Look) -> None:
    page = tab.open(site.url + ADDRESSES[name].format(**site.ids), 404 if name == "missing" else 200)
    for width in sorted(TALLEST, key=lambda width: width == look.width):  # its own comes last
        _seen_as(page, Look(width, look.scheme))
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{width} px wide: {overflow} px too wide"
    found = Axe().run(page, options=RULES).response["violations"]
    serious = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found if each["impact"] in SERIOUS]
    assert serious == []
    if PICTURES and name in PICTURED and look in SHOWN:
        _take_picture(page, name, look)
    page.set_viewport_size({"width": PAPER, "height": 1000})
    page.emulate_media(media="print", color_scheme="light")
    lost = page.evaluate(CUT_OFF)
    page.emulate_media(media="screen")
    assert lost == [], "on paper"
    assert [url for url in tab.asked if not url.startswith((site.url, "data:"))] == []
    assert tab.broken == []
    assert page.evaluate("window.ran") is None


def test_a_long_name_of_a_clip_leaves_room_for_what_was_said_of_it(site: Site, tab: Tab) -> None:
    page = tab.open(site.url + ADDRESSES["compare"].format(**site.ids))
    table = page.locator("section:has(#left-only) .scroll")
    table.locator("tbody th").first.evaluate("cell => { cell.firstChild.data = 'brush_hair/' + 'Brushing_'.repeat(9) }")
    assert table.evaluate("part => part.scrollWidth - part.clientWidth") <= 0


def test_a_readers_own_colours_leave_the_hues_of_a_legend(site: Site, tab: Tab) -> None:
    page = tab.open(f"{site.url}/experiments/{site.ids['finished']}")
    page.emulate_media(forced_colors="active")
    hues = page.locator(".legend .swatch").evaluate_all(
        "all => all.map(each => getComputedStyle(each).backgroundColor)"
    )
    assert len(set(hues)) == len(hues) > 1
    dots = page.locator(".state.succeeded")
    assert dots.first.evaluate("dot => getComputedStyle(dot, '::before').backgroundColor") != "rgba(0, 0, 0, 0)"


def _take_picture(page: Page, name: str, look: Look) -> None:
    page.evaluate(DRAWN)
    height = min(TALLEST[look.width], page.evaluate("document.documentElement.scrollHeight"))
    cut: FloatRect = {"x": 0, "y": 0, "width": look.width, "height": height}
    page.screenshot(path=Path(str(PICTURES)) / f"{name}-{look.width}-{look.scheme}.png", full_page=True, clip=cut)


def test_attention_on_a_clip_is_two_clicks_away_and_another_clip_one_more(site: Site, tab: Tab) -> None:
    page = tab.open(f"{site.url}/experiments")
    page.get_by_role("link", name="looks around").click()
    page.get_by_role("link", name="Pictures", exact=True).click()
    page.get_by_label("Clip").select_option(CLIPS[1])
    page.get_by_label("Clip").locator("xpath=ancestor::form").get_by_role("button", name="Show").click()
    for name in ("Attention on a clip", "Localised tubes"):
        shown = page.get_by_role("img", name=f"{name} of {CLIPS[1]}")
        shown.evaluate("image => { image.loading = 'eager' }")
        assert shown.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 200
    expect(page.get_by_role("link", name="film")).to_have_count(1)
    page.get_by_text("What there is not, and why").click()
    expect(page.get_by_text("those that do: memory")).to_be_visible()


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
    page.goto(f"{site.url}/experiments?state=failed&name=breaks")
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
    expect(page.locator(".uses").last).to_contain_text("CPUs")
    page.goto(f"{site.url}/workers")
    expect(page.get_by_text("42 % of 16 CPUs")).to_be_visible()
    expect(page.get_by_text("87 % of cuda:0")).to_be_visible()
    page.goto(f"{site.url}/experiments/{site.ids['running']}")
    expect(page.get_by_text("CPUs on average")).to_be_visible()
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
    expect(page.locator("#status")).to_contain_text("running")
    end(site.database, worker, first)
    worker.run_all(lambda claim: end(site.database, worker, claim))
    expect(page.locator("#status")).to_contain_text("succeeded")
    expect(page.get_by_role("row", name="two-stream").first).to_be_visible()
    expect(page.locator(".picture img").first).to_be_visible()
    assert page.locator(".chart polyline").count() > 4
