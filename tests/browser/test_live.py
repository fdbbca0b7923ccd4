"""Pages that stay open: they say anew what has changed, and leave alone what a reader does on them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from services.errors import LeaseLost
from services.queue import attempts, workers
from services.queue.attempts import Fact
from services.queue.claim import Claim
from services.queue.curve import Recorder, Sample
from tests.browser.conftest import MACHINE, Site, end
from tests.services.conftest import Decreed

pytestmark = pytest.mark.xdist_group("browser")
SEEDS = itertools.count(30)
"""Of runs that share no stage that has ended."""
NAMES = ("loss", "accuracy")
SOON = 30_000
"""Milliseconds for what comes every five seconds, or with the first looks."""
A_LOOK, LOOKS = 10_000, 30
"""Milliseconds after which a page asks what there is, by its own clock, which a test moves; and how often it may."""


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page()
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.clock.install()
    yield page
    page.close()
    assert broken == []


@pytest.fixture
def claim(site: Site) -> Iterator[Claim]:
    """A stage that runs."""
    worker = Decreed(site.database, "worker-live")
    worker.run_all(lambda claim: end(site.database, worker, claim))
    site.submit(name="stays open", seeds=[next(SEEDS)], splits=[1], streams=["rgb"])
    claim = worker.claim_any()
    assert claim is not None
    with site.database.transaction() as session:
        workers.report(session, "worker-live", queues=["cpu"], devices=["cpu"], concurrency=1, use=MACHINE)
    yield claim
    with suppress(LeaseLost):  # a test may have ended it
        worker.succeed(claim)
    worker.run_all(lambda claim: end(site.database, worker, claim))
    with site.database.transaction() as session:
        workers.leave(session, "worker-live")


def use(site: Site, claim: Claim, cpus: float) -> None:
    recorder = Recorder()
    for second in range(3):
        recorder.add(second, Sample(cpus, 1e9, None, None))
    with site.database.transaction() as session:
        attempts.heartbeat(session, claim.key, claim.attempt, 60, usage=attempts.Usage(curves=recorder.kept()))


def renewed(words: Locator) -> Locator:
    """Have a page's time pass until words stand there that did not when it was loaded, and return where."""
    for _ in range(LOOKS):
        words.page.clock.fast_forward(A_LOOK)
        with suppress(AssertionError):
            expect(words).to_be_attached(timeout=SOON / LOOKS)
            return words
    pytest.fail(f"{LOOKS} looks after it was there, the page has no {words}")


def told(site: Site, claim: Claim, kind: str, place: int, **data: Any) -> None:
    with site.database.transaction() as session:
        attempts.record(session, claim.key, claim.attempt, [Fact(kind, place, data)])


def test_an_experiments_page_renews_use_and_time_left(site: Site, claim: Claim, page: Page) -> None:
    use(site, claim, 1.5)
    page.goto(f"{site.url}/experiments")
    page.get_by_role("link", name="stays open").first.click()
    expect(page.get_by_text("1.5 CPUs on average")).to_be_visible()
    page.evaluate("window.kept = true")
    use(site, claim, 3.5)
    expect(page.get_by_text("3.5 CPUs on average")).to_be_visible(timeout=SOON)
    assert page.evaluate("window.kept") is True


def test_what_a_reader_does_on_a_page_stays_while_it_is_renewed(site: Site, claim: Claim, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 700})
    page.goto(f"{site.url}/queue")
    table = page.locator(".scroll[aria-labelledby=running]")
    table.focus()
    table.evaluate("(element) => { element.scrollLeft = 60 }")
    for cpus in (2.5, 4.5):
        use(site, claim, cpus)
        renewed(page.get_by_text(f"{cpus} CPUs"))
    assert table.evaluate("(element) => [element === document.activeElement, element.scrollLeft]") == [True, 60]


def test_the_workers_page_renews_what_a_machine_does(site: Site, claim: Claim, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 700})
    page.goto(f"{site.url}/workers")
    with site.database.transaction() as session:
        busy = MACHINE | {"cpu": 0.97}
        workers.report(session, "worker-live", queues=["cpu"], devices=["cpu"], concurrency=1, use=busy)
    words = renewed(page.get_by_text("97 % of 16 CPUs"))
    expect(words).to_be_visible()
    box = words.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 390  # nobody has to scroll for it


def test_curves_of_validation_grow_beside_those_of_training(site: Site, claim: Claim, page: Page) -> None:
    worker = Decreed(site.database, "worker-live")
    worker.succeed(claim)
    worker.run_all(lambda claim: end(site.database, worker, claim))
    training = {"epochs": 3, "validate": True}
    made = site.submit(name="validates", seeds=[next(SEEDS)], splits=[1], streams=["rgb"], training=training)
    while (trains := worker.claim_any()) is not None and trains.kind != "train":
        end(site.database, worker, trains)
    assert trains is not None
    page.goto(f"{site.url}/experiments/{made}")
    for chart in (charts := [page.locator(".chart").nth(0), page.locator(".chart").nth(1)]):
        expect(chart.locator("polyline.held-out")).to_have_count(0)
    for epoch in (1, 2, 3):
        values = {
            f"{part}_{name}": scale / epoch for part, scale in (("train", 0.9), ("validation", 0.8)) for name in NAMES
        }
        told(site, trains, "metrics", epoch, step=epoch, values=values)
        for chart, name in zip(charts, NAMES, strict=True):
            words = re.compile(f"validation {name} of train .* is .* after {epoch} epoch")
            expect(renewed(chart.get_by_role("img", name=words))).to_be_visible()
            expect(chart.locator("polyline.held-out")).to_have_count(1)
            expect(chart.locator("polyline:not(.held-out)")).not_to_have_count(0)
            points = chart.locator("polyline.held-out").get_attribute("points") or ""
            assert len(points.split()) == epoch
    expect(page.get_by_text("Dashed: clips that are held out.")).to_be_visible()
    end(site.database, worker, trains)
    worker.run_all(lambda claim: end(site.database, worker, claim))


def test_the_queue_says_anew_what_runs(site: Site, claim: Claim, page: Page) -> None:
    page.goto(f"{site.url}/queue")
    told(site, claim, "progress", 0, done=7, total=99, unit="clips", message="")
    expect(renewed(page.get_by_text("7 of 99 clips"))).to_be_visible()
