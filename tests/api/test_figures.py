"""Figures over HTTP: what there is, its bytes once, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.stores.artifacts import open_store
from tests.services.packed import answered
from tests.services.pictured import CLIPS, Leaver

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
    assert [each["name"] for each in found] == [
        *("learning", "confusion", "classes", "gain", "confusion-difference", "localization"),
        *("tsne", "pca", "memory", "attention", "tubes", "flow"),
    ]
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
    for given in ((tag := svg.headers["etag"]), f'"other", W/{tag}', "*"):
        again = client.get(f"{base}/confusion.svg", headers={"If-None-Match": given})
        assert (again.status_code, again.content) == (304, b""), given
    assert client.get(f"{base}/confusion.svg", headers={"If-None-Match": '"other"'}).status_code == 200
    gain = client.get(f"{base}/gain.svg", params={"baseline": finished})
    assert gain.status_code == 200
    for query, field in (("confusion.svg?split=2", "split"), ("gain.svg", "baseline"), ("confusion.gif", "form")):
        refused = client.get(f"{base}/{query}")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field), query


def test_an_unknown_figure_or_experiment_is_404(shared):
    assert "no experiment" in shared.get("/experiments/exp_1/figures").json()["detail"]
    assert shared.get("/experiments/exp_1/figures/confusion.svg").status_code == 404


@pytest.fixture
def pictured(submit, settings, database, tmp_path) -> str:
    """Id of an experiment whose network attends, and whose stages have left what pictures are drawn from."""
    made = submit(
        streams=["rgb", "flow"], fusion={"method": "probabilities"}, model={"kind": "conv_alstm"},
        evaluation={"localization": {}},
    )["id"]  # fmt: skip
    Leaver(database, open_store(settings), tmp_path / "left").run_all()
    return made


def test_what_stages_have_left_is_drawn_on_the_frames_of_a_clip(client, pictured):
    listed = {each["name"]: each for each in client.get(f"/experiments/{pictured}/figures").json()}
    assert listed["attention"]["clips"] == list(CLIPS[:2])
    assert listed["flow"]["clips"] == [CLIPS[1]]
    assert (listed["attention"]["webp"], listed["tubes"]["webp"]) == (
        f"/experiments/{pictured}/figures/attention.webp", None,
    )  # fmt: skip
    for name in ("attention", "tubes", "flow", "tsne"):
        query = {} if name == "tsne" else {"clip": CLIPS[1]}
        answer = client.get(listed[name]["png"], params=query)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
        assert client.get(listed[name]["png"], params=query).content == answer.content
    film = client.get(listed["attention"]["webp"])
    assert (film.status_code, film.headers["content-type"]) == (200, "image/webp")
    assert film.content[:4] == b"RIFF"


def test_what_a_figure_does_not_have_is_refused_by_name(client, pictured):
    base = f"/experiments/{pictured}/figures"
    missing = client.get(f"{base}/memory.png")
    assert missing.status_code == 404
    assert "(conv_alstm); those that do: memory" in missing.json()["detail"]
    for query, field, allowed in (
        ("attention.png?clip=nobody", "clip", CLIPS[0]),
        ("tubes.webp", "form", "svg or png"),
        ("confusion.png?clip=nobody", "clip", "none: confusion goes by"),
    ):
        refused = client.get(f"{base}/{query}")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field), refused.text
        assert allowed in refused.text


def test_a_file_that_has_gone_is_409(client, pictured, settings):
    for file in Path(settings.artifacts).rglob("pictures.npz"):
        file.unlink()
    answer = client.get(f"/experiments/{pictured}/figures/attention.png")
    assert answer.status_code == 409
    assert "pictures.npz" in answer.json()["detail"]


def test_the_page_shows_them_and_lets_a_clip_be_chosen(client, pictured):
    text = client.get(f"/experiments/{pictured}", params={"clip": CLIPS[1]}, headers={"Accept": "text/html"}).text
    base = f"/experiments/{pictured}/figures"
    for name in ("attention", "tubes", "flow"):
        assert f'<img src="{base}/{name}.png?clip=SlideLeft%2Fv_SlideLeft_g02_c01"' in text
    assert f'href="{base}/attention.webp?clip=SlideLeft%2Fv_SlideLeft_g02_c01">film</a>' in text
    assert f'<a href="{base}/tsne.svg">SVG</a>' in text
    assert f'<option value="{CLIPS[1]}" selected>' in text
    assert "no network of this experiment writes to a memory" in text


def test_the_page_of_an_unknown_clip_shows_the_first(client, pictured):
    hostile = '"><script>alert(1)</script>'
    text = client.get(f"/experiments/{pictured}", params={"clip": hostile}, headers={"Accept": "text/html"}).text
    assert "<script>alert" not in text
    assert "attention.png?clip=SlideLeft%2Fv_SlideLeft_g01_c01" in text
