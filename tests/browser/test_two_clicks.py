"""What a researcher asks of all day is two clicks away from any page: each way is walked as a person walks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Site

pytestmark = pytest.mark.xdist_group("browser")

DOCUMENTED = Path(__file__).parents[2] / "docs" / "pages.md"
CLICKS = 2


class Walker:
    """A person who clicks, and counts; what is filled into a form, or ticked, is no click on the way."""

    def __init__(self, page: Page) -> None:
        self.page, self.clicks = page, 0

    def click(self, role: str, name: str) -> Page:
        """Follow a link, or press a button."""
        self.clicks += 1
        self.page.get_by_role(role, name=name, exact=True).first.click()  # type: ignore[arg-type]
        self.page.wait_for_load_state()
        return self.page

    def site(self, name: str) -> Page:
        """Follow a link of the head of every page."""
        self.clicks += 1
        self.page.get_by_role("navigation", name="Site").get_by_role("link", name=name, exact=True).click()
        self.page.wait_for_load_state()
        return self.page

    def experiment(self, name: str) -> Page:
        """Go to an experiment by the list of all."""
        self.site("Experiments")
        return self.click("link", name)

    def ticked(self, *names: str) -> Page:
        """Compare experiments of the list of all."""
        self.site("Experiments")
        for name in names:
            self.page.get_by_role("checkbox", name=f"Compare {name}", exact=True).check()
        return self.click("button", "Compare those ticked")


FIRST, OTHER, THIRD = "TS-LSTM on shapes", "TS-LSTM, width 16", "TS-LSTM, width 32"


def to_best(walker: Walker) -> Page:
    walker.site("Leaderboard")
    walker.page.locator("select[name=split]").select_option(label="split 1")
    walker.page.locator("select[name=stream]").select_option(label="optical flow")
    return walker.click("button", "Show")


def best(page: Page) -> None:
    expect(page.get_by_role("heading", name="optical flow, split 1")).to_be_visible()
    expect(page.locator("#ranking ~ .scroll tbody tr").first).to_contain_text("TS-LSTM")


def better(page: Page) -> None:
    expect(page.get_by_text("McNemar's exact test")).to_be_visible()
    expect(page.get_by_text("95 % interval").first).to_be_visible()


def of_three(page: Page) -> None:
    expect(page.get_by_text("Holm's method adjusts for 3 pairs")).to_be_visible()
    expect(page.get_by_role("row", name="A, B").first).to_be_visible()


def classes(page: Page) -> None:
    expect(page.get_by_role("region", name=re.compile("Classes that (gain|lose)")).first).to_be_visible()


def laid_over(page: Page) -> None:
    assert page.locator(".chart polyline").count() >= 4
    expect(page.locator(".legend li")).to_have_count(2)


def differs(page: Page) -> None:
    expect(page.get_by_role("row", name="model.hidden")).to_contain_text("[16]")


def curves(page: Page) -> None:
    expect(page.get_by_role("img", name=re.compile("^Loss by epoch")).first).to_be_visible()


def waits(page: Page) -> None:
    expect(page.get_by_text(re.compile("^needs |in line for queue")).first).to_be_visible()


def to_table(walker: Walker) -> Page:
    walker.site("Papers")
    return walker.click("link", "Table 3")


def beside(page: Page) -> None:
    expect(page.get_by_role("heading", name="Printed and measured")).to_be_visible()


def missing(page: Page) -> None:
    expect(page.locator("pre", has_text="twostream papers fill")).to_be_visible()


def to_paper(walker: Walker) -> Page:
    walker.site("Papers")
    return walker.click("link", "TS-LSTM")


def how_far(page: Page) -> None:
    expect(page.get_by_role("columnheader", name="Launchable")).to_be_visible()


def to_failed(walker: Walker) -> Page:
    walker.site("Experiments")
    walker.clicks += 1
    walker.page.get_by_role("link", name="breaks").click()
    return walker.page


def failed(page: Page) -> None:
    expect(page.locator("#status")).to_contain_text("weights of another shape")
    expect(page.get_by_role("heading", name="Last words")).to_be_visible()


def recipe_differs(page: Page) -> None:
    expect(page.get_by_role("row", name="training.epochs")).to_be_visible()


def clone(page: Page) -> None:
    expect(page.locator("section:has(#clone) pre").first).to_contain_text("recipe: demo_ts_lstm")


def to_recipe(walker: Walker) -> Page:
    page = walker.site("Recipes")
    walker.clicks += 1
    page.locator('a[href="/recipes/tsn_ucf101"]').click()
    return page


def numbers(page: Page) -> None:
    expect(page.get_by_role("heading", name="All numbers")).to_be_visible()


def to_dataset(walker: Walker) -> Page:
    walker.site("Datasets")
    return walker.click("link", "motion_shapes")


def dataset(page: Page) -> None:
    expect(page.get_by_role("heading", name="Flow and features")).to_be_visible()


def to_registered(walker: Walker) -> Page:
    walker.site("Datasets")
    return walker.click("link", "registered")


def doctor(page: Page) -> None:
    expect(page.get_by_text("Not fit for experiments")).to_be_visible()
    page.get_by_role("row", name="Listed and not there").get_by_text("show").click()
    expect(page.get_by_text("Walk/v_Walk_g04_c01.avi")).to_be_visible()


def working(page: Page) -> None:
    expect(page.get_by_text("worker-1").first).to_be_visible()


def drawn(page: Page, title: str) -> None:
    """Wait for a picture whose words begin so, and see that it is one."""
    picture = page.locator(f'.picture img[alt^="{title}"]').first
    picture.scroll_into_view_if_needed()
    expect(picture).to_be_visible()
    page.wait_for_function("(image) => image.complete && image.naturalWidth > 100", arg=picture.element_handle())


Walk, Look = Callable[[Walker], Page], Callable[[Page], None]
WAYS: dict[str, tuple[Walk, dict[str, Look]]] = {
    "the leaderboard": (to_best, {"the best on split 1, flow": best}),
    "two compared": (
        lambda walker: walker.ticked(FIRST, OTHER),
        {
            "is A better than B": better,
            "which classes gain and lose": classes,
            "the difference of two confusions": lambda page: drawn(page, "Confusion of "),
            "curves laid over each other": laid_over,
            "what differs in the specs of two to five": differs,
        },
    ),
    "three compared": (
        lambda walker: walker.ticked(FIRST, OTHER, THIRD),
        {"which of three to five differ": of_three},
    ),
    "one that succeeded": (
        lambda walker: walker.experiment(FIRST),
        {
            "the confusion": lambda page: drawn(page, "Confusion of classes"),
            "what differs from the recipe": recipe_differs,
            "a clone with a change": clone,
        },
    ),
    "one that runs": (
        lambda walker: walker.experiment("under way"),
        {"live curves": curves, "why it waits, and about when it starts": waits},
    ),
    "one that failed": (to_failed, {"why it failed": failed}),
    "a table": (to_table, {"the paper's number beside mine": beside, "what is missing of a table": missing}),
    "a paper": (to_paper, {"how far a paper is": how_far}),
    "a recipe": (to_recipe, {"a recipe's numbers and deviations": numbers}),
    "a dataset": (to_dataset, {"what a dataset holds, and what is on disk of it": dataset}),
    "one that the doctor saw": (to_registered, {"what the doctor found in a dataset": doctor}),
    "the workers": (
        lambda walker: walker.site("Workers"),
        {"who works on what, and what it uses of its machine": working},
    ),
}
"""By where somebody goes: the way, and by the words of `docs/pages.md` what is there."""


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Iterator[Page]:
    """The tab that all ways begin in."""
    page = chromium.new_page()
    yield page
    page.close()


@pytest.mark.parametrize("place", WAYS)
def test_it_is_two_clicks_away(site: Site, page: Page, place: str) -> None:
    walk, looks = WAYS[place]
    page.goto(f"{site.url}/sweeps")
    walker = Walker(page)
    there = walk(walker)
    assert walker.clicks <= CLICKS
    for words, look in looks.items():
        assert f"| {words} |" in DOCUMENTED.read_text()
        look(there)
