"""Figures over HTTP: what there is, its bytes once, and what is refused."""

from __future__ import annotations

import pytest

from tests.services.packed import answered

ANSWERS = (["Jump", "Run"], (0, 1, 1), (0, 1, 0))


@pytest.fixture
def finished(submit, worker) -> str:
    """Id of an experiment whose answers are known clip by clip."""
    made, hands = submit()["id"], worker()
    results = hands.results
    hands.summary_of = lambda claim: answered(results(claim)[0], *ANSWERS)
    hands.finish_all()
    return made


def test_they_are_listed_with_what_they_wait_for(client, submit):
    made = submit()["id"]
    found = client.get(f"/experiments/{made}/figures").json()
    assert [each["name"] for each in found] == ["learning", "confusion", "classes", "gain"]
    assert not any(each["available"] for each in found)
    assert found[0]["reason"] == "no epoch has ended yet"
    missing = client.get(found[1]["svg"])
    assert missing.status_code == 404
    assert "`fuse` stages have ended" in missing.json()["detail"]


def test_a_picture_is_sent_once(client, finished):
    base = f"/experiments/{finished}/figures"
    svg, png = client.get(f"{base}/confusion.svg"), client.get(f"{base}/classes.png?stream=rgb&split=1&theme=dark")
    assert (svg.status_code, svg.headers["content-type"]) == (200, "image/svg+xml")
    assert (png.status_code, png.headers["content-type"]) == (200, "image/png")
    again = client.get(f"{base}/confusion.svg", headers={"If-None-Match": svg.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    gain = client.get(f"{base}/gain.svg", params={"baseline": finished})
    assert gain.status_code == 200
    for query, field in (("confusion.svg?split=2", "split"), ("gain.svg", "baseline"), ("confusion.gif", "form")):
        refused = client.get(f"{base}/{query}")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field), query


def test_an_unknown_figure_or_experiment_is_404(shared):
    assert "no experiment" in shared.get("/experiments/exp_1/figures").json()["detail"]
    assert shared.get("/experiments/exp_1/figures/confusion.svg").status_code == 404
