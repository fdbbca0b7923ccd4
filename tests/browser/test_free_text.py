"""Whatever somebody types is shown as text: in pages, in pictures, in what a script of ours writes, and in files.

The browser is told to forget our content security policy, which would hide a text that is not escaped.
"""

from __future__ import annotations

import copy
import csv
import io
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from services.db.tables import (
    DatasetRow,
    ExperimentRow,
    ExperimentStageRow,
    ScoreUploadRow,
    StageRow,
    SweepRow,
    SweepTrialRow,
    WorkerRow,
)
from services.errors import Cause
from services.queue import attempts, workers
from services.queue.attempts import Fact
from services.queue.claim import Claim
from services.specs.sweep import SweepSpec
from tests.browser.conftest import Site, end
from tests.services.conftest import Decreed
from tests.services.packed import packed

pytestmark = pytest.mark.xdist_group("browser")

SHORT = "\"><svg onload=ran=1>'<script>ran=1</script>"
TINY = "<svg onload=ran=1>"
LONG = f"</title></textarea></script>--><script>ran=1</script><img src=x onerror=ran=1>{{{{7*7}}}}&lt;b&gt;{SHORT}"
"""What leaves a title, an attribute, a script or a template where it is not escaped: as long as a field may be."""
LINES = (
    f"{LONG}\n<script>alert(1)</script>\n[a](javascript:alert(1)) <a href='javascript:alert(1)' onclick=alert(1)>b</a>"
)
"""What a field of several lines may hold beside that."""
RUNS = (
    "window.ran !== undefined || "
    "document.querySelector('[onload], [onerror], [onclick], img[src=x], [href^=\"javascript:\"]') !== null"
)


class Hostile:
    """Ids of experiments in which every text that somebody can give is one of those."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.worker = Decreed(site.database, SHORT)
        self.worker.run_all()  # what others have left
        with site.database.transaction() as session:
            workers.report(session, SHORT, queues=["cpu", "gpu", TINY], devices=[TINY], concurrency=1, draining=LONG)
        self.dataset = self._dataset()
        self.left, self.right = (self._finished(shift, hidden) for shift, hidden in ((2, 16), (3, 24)))
        self._said_afterwards()
        self._chosen()
        self._brought()
        self.sweep = self._swept()
        self.failed = self._failed()
        self.running, self.claim = self._running()

    def _dataset(self) -> str:
        body = {"name": "typed", "root": f"/{LONG}", "annotations": f"/{LONG}", "boxes": f"/{LONG}"}
        answer = self.site.client.post("/datasets", json=body)
        assert answer.status_code == 201, answer.text
        assert self.site.client.post("/datasets", json=body | {"name": SHORT}).status_code == 422
        backbone = {"name": "tiny", "finetune": None}
        spec = {"name": "reads it", "dataset": "typed", "splits": [1], "streams": ["rgb"], "backbone": backbone}
        answer = self.site.client.post("/experiments", json=spec)
        assert answer.status_code == 202, answer.text
        claim = self.worker.claim_any()
        assert claim is not None
        warning = Fact("warning", 0, {"message": LONG})
        with self.site.database.transaction() as session:
            attempts.record(session, claim.key, claim.attempt, [warning])
        finding = {"code": "x", "severity": "flagged", "field": LONG, "sentence": LONG, "split": 1}
        counts = {"clips": 2, "classes": 1, "frames": 9, "surplus": 0, "excluded": 0}
        digests = {"lists": "0" * 64, "digest": "1" * 64, "shared": [], "findings": [finding], "bytes": 2 * 10**9}
        more = {"class_clips": [[LONG, 2]], "splits": {"1": {"train": 1, "test": 1}}, "sizes": [[LONG, 2]], "rates": []}
        self.worker.succeed(claim, **counts, **digests, **more)
        found = dict.fromkeys(("classes", "clips", "excluded", "present", "frames", "interlaced", "turned"), 1)
        seen = {"missing": {"count": 30, "first": [LONG, SHORT]}, "deviations": {"count": 1, "first": [TINY]}}
        check = found | {
            "mirrored": 0,
            "decoder": LONG,
            "revision": 1,
            "counts": {"sizes": {LONG: 2}},
            "findings": seen,
        }
        answer = self.site.client.post("/datasets/typed/check", json=check)
        assert answer.status_code == 200, answer.text
        return "typed"

    def _finished(self, shift: int, hidden: int) -> str:
        made = self.site.submit(name=LONG, seeds=[hidden], model={"kind": "ts_lstm", "segments": 5, "hidden": [hidden]})
        self.worker.run_all(lambda claim: self._end(claim, shift))
        with self.site.database.transaction() as session:
            row = session.get_one(ExperimentRow, made)
            row.owner, row.message = SHORT, LONG
            flag = {"code": "x", "severity": "flagged", "field": LONG, "sentence": LONG}
            row.flags = [flag]
        return made

    def _end(self, claim: Claim, shift: int) -> None:
        if claim.kind != "fuse":
            return end(self.site.database, self.worker, claim)
        labels = [0, 1] * 10
        said = [1 - label if place % shift == 0 else label for place, label in enumerate(labels)]
        ranks = [int(label != each) for label, each in zip(labels, said, strict=True)]
        rate = sum(rank == 0 for rank in ranks) / len(ranks)
        metrics = {"top1": rate, "top5": 1.0, "mean_class": rate, "correct": round(20 * rate), "clips": 20}
        numbers = packed([number for pair in zip(said, ranks, strict=True) for number in pair])
        place = {name: claim.params[name] for name in ("split", "seed")}
        streams = list(claim.params["weights"])
        results: list[dict[str, Any]] = [
            {"stream": stream, **place, "metrics": metrics, "predictions": numbers}
            for stream in ([*streams, "two-stream"] if len(streams) > 1 else streams)
        ]
        names = [f"{LONG}/{place:02d}" for place in range(20)]
        truth = {"classes": [LONG, SHORT], "labels": packed(labels), "clips": "2" * 64, "ids": names}
        self.worker.succeed(claim, results=results, truth=truth)
        return None

    def _said_afterwards(self) -> None:
        """Say what people say of an experiment when it is there."""
        answer = self.site.client.post(f"/experiments/{self.right}/withdraw", json={"reason": LONG})
        assert answer.status_code == 200, answer.text
        with self.site.database.transaction() as session:
            left, right = (session.get_one(ExperimentRow, each) for each in (self.left, self.right))
            left.note, left.tags = LINES, [TINY]
            right.withdrawn_by = SHORT
            session.get_one(DatasetRow, self.dataset).owner = SHORT
            session.get_one(WorkerRow, SHORT).host = LONG

    def _chosen(self) -> None:
        """Have each text of a spec be one of those: what checks them may let through more one day."""
        with self.site.database.transaction() as session:
            row = session.get_one(ExperimentRow, self.left)
            spec = copy.deepcopy(row.spec)
            spec["model"]["weights"] = {"experiment": LONG, "recipe": SHORT, "dataset": TINY}
            spec["backbone"] |= {"name": f"timm:{TINY}", "feature": LONG, "weights": LONG}
            spec["flow"]["weights"] = f"/{LONG}"
            row.spec = spec

    def _brought(self) -> None:
        """Have the experiment need a score file that somebody brought."""
        with self.site.database.transaction() as session:
            stage = {"key": "f" * 64, "kind": "score", "params": {}, "queue": "cpu", "owner": SHORT, "output": "x"}
            label = f"uploaded {LONG} rgb, split 1"
            session.add(StageRow(**stage, label=label, state="succeeded", timeout_seconds=1, message=LONG))
            session.flush()
            upload = {"id": "f" * 64, "name": LONG, "owner": SHORT, "dataset": self.dataset, "revision": 1, "split": 1}
            session.add(ScoreUploadRow(**upload, stream="rgb", kind="logits", clips=1, classes=1))
            session.add(ExperimentStageRow(experiment_id=self.left, stage_key="f" * 64, position=99, reused=True))

    def _swept(self) -> str:
        """Return a sweep over texts that has failed."""
        space = {"model.weights": {"choices": [LONG, SHORT]}, "backbone.weights": {"choices": [[LONG], {TINY: LONG}]}}
        values = {"model.weights": LONG, "backbone.weights": {TINY: LONG}}
        with self.site.database.transaction() as session:
            base = session.get_one(ExperimentRow, self.site.ids["finished"]).spec
            spec = SweepSpec.model_validate({"name": "x", "experiment": {}, "space": space, "budget": {"trials": 4}})
            row = {"id": "swp_0f", "name": LONG, "owner": SHORT, "dataset": "motion_shapes", "message": LINES}
            body = {"spec": spec.model_dump(mode="json") | {"name": LONG}, "base": base, "body_digest": ""}
            session.add(SweepRow(**row, **body, state="failed"))
            session.flush()
            trial = {"sweep_id": "swp_0f", "number": 0, "values": values, "message": LINES}
            session.add(SweepTrialRow(**trial, state="failed", experiment_id=self.right))
        return "swp_0f"

    def _failed(self) -> str:
        made = self.site.submit(name=LONG, seeds=[90], splits=[1], streams=["rgb"])
        claim = self.worker.claim_any()
        assert claim is not None
        with self.site.database.transaction() as session:
            session.get_one(StageRow, claim.key).label = LONG
            attempts.fail(session, claim.key, claim.attempt, cause=Cause.USER_ERROR, message=LONG, log=f"{LONG}\n")
        return made

    def _running(self) -> tuple[str, Claim]:
        made = self.site.submit(name=LONG, seeds=[91])
        claim = self.worker.claim_any()
        assert claim is not None
        self.progress(claim, "begun")
        return made, claim

    def progress(self, claim: Claim, word: str) -> None:
        """Have the stage that runs say how far it is."""
        done = Fact("progress", 0, {"done": 1, "total": 2, "unit": TINY, "message": f"{LONG} {word}"})
        with self.site.database.transaction() as session:
            attempts.record(session, claim.key, claim.attempt, [done])


@pytest.fixture(scope="module")
def hostile(site: Site) -> Iterator[Hostile]:
    found = Hostile(site)
    yield found
    found.worker.succeed(found.claim)
    site.client.post(f"/experiments/{found.running}/cancel", json={})
    found.worker.run_all()
    for made in (found.left, found.right, found.failed, found.running):  # the lists of others have none of them
        site.client.patch(f"/experiments/{made}", json={"archived": True}).raise_for_status()
    with site.database.transaction() as session:
        workers.leave(session, SHORT)


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Iterator[Page]:
    """A tab in which any script would run, and none opens a dialog."""
    context = chromium.new_context(bypass_csp=True)
    opened, asked = context.new_page(), []
    opened.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    yield opened
    context.close()
    assert asked == []


SHOWN = {
    "/?dataset=motion_shapes&stream=rgb&split=1": (f": {LONG}", SHORT),
    "/experiments": (LONG, SHORT),
    "/experiments?state=failed": (LONG,),
    "/experiments/{left}": (LINES, SHORT, TINY, f"uploaded {LONG}", f"timm:{TINY}"),
    "/experiments/{right}": (LONG, f"by {SHORT}"),
    "/experiments/{failed}": (LONG, SHORT),
    "/experiments/{running}": (LONG, SHORT, TINY),
    "/compare?left={left}&right={right}": (LONG, SHORT),
    "/compare?experiment={left}&experiment={right}&experiment={plain}": (LONG,),
    "/queue": (SHORT,),
    "/workers": (SHORT, LONG, TINY),
    "/datasets": ("typed",),
    "/datasets/typed": (f"/{LONG}", SHORT, TINY),
    "/sweeps": (LONG, SHORT),
    "/sweeps/swp_0f": (LINES, SHORT, TINY),
    "/datasets/motion_shapes": (LONG,),
}
"""Pages, and which of the texts stand there."""
ECHOED = (
    "/experiments?name={0}",
    "/experiments?owner={0}",
    "/experiments?model={0}",
    "/experiments?state={0}",
    "/experiments?search={0}",
    "/experiments?tag={0}",
    "/experiments?archived={0}",
    "/experiments?{0}=1",
    "/sweeps?cursor={0}",
    "/sweeps/{0}",
    "/workers?cursor={0}",
    "/experiments/{0}/figures/{0}.svg",
    "/experiments/{0}",
    "/datasets/{0}",
    "/recipes/{0}",
    "/papers/{0}",
    "/papers/ts_lstm/tables/{0}",
    "/compare?left={0}&right={0}x",
    "/?dataset={0}",
    "/?protocol={0}",
    "/?split={0}",
    "/?source={0}",
    "/?selected_on_test={0}",
    "/{0}",
)
"""Addresses that repeat what they were asked for."""


@pytest.mark.parametrize("address", SHOWN)
def test_what_is_stored_is_shown_as_text(site: Site, hostile: Hostile, page: Page, address: str) -> None:
    ids = {"left": hostile.left, "right": hostile.right, "failed": hostile.failed, "running": hostile.running}
    answer = page.goto(site.url + address.format(**ids, plain=site.ids["finished"]))
    assert answer is not None
    if "{plain}" in address:  # others' clips: refused, by a page that names them
        assert answer.status == 422
    else:
        assert answer.status == 200
        text = page.evaluate("document.body.textContent")
        assert [words for words in SHOWN[address] if words not in text] == []
    assert not page.evaluate(RUNS)


def test_what_is_asked_for_is_repeated_as_text(site: Site, page: Page) -> None:
    for address in ECHOED:
        answer = page.goto(site.url + address.format(quote(LONG, safe="")))
        assert answer is not None
        assert not page.evaluate(RUNS), address
        assert "ran=1" in page.content() or "model=" in address, address


def test_pictures_and_raw_answers_run_nothing(site: Site, hostile: Hostile, page: Page) -> None:
    base = f"{site.url}/experiments/{hostile.left}"
    for name in ("confusion.svg", "classes.svg", "learning.svg", f"gain.svg?baseline={hostile.right}"):
        page.goto(f"{base}/figures/{name}")
        assert not page.evaluate("window.ran !== undefined"), name
    raw = [f"{base}/{path}" for path in ("logs", "stages", "results", "spec", "use")]
    for address in (*raw, *(f"{site.url}/{path}" for path in ("scores", f"sweeps/{hostile.sweep}/trials", "cache"))):
        page.goto(address)
        assert not page.evaluate(RUNS), address
    policy = site.client.get(f"{base}/figures/confusion.svg").headers["content-security-policy"]
    assert "default-src 'none'" in policy


def test_what_the_script_writes_is_text(site: Site, hostile: Hostile, page: Page) -> None:
    page.goto(f"{site.url}/experiments/{hostile.running}")
    expect(page.locator("[data-stage] small")).to_contain_text("begun")
    hostile.progress(hostile.claim, "told later")
    expect(page.locator("[data-stage] small")).to_contain_text(f"1 of 2 {TINY}, {LONG} told later")
    assert not page.evaluate(RUNS)


def test_no_cell_of_a_file_is_a_formula(site: Site, hostile: Hostile) -> None:
    begin = ("=", "+", "-", "@", "\t", "\r")
    for sign in "=+-@":
        made = site.submit(name=f"{sign}1+cmd|' /C calc'!A0", seeds=[92], splits=[1], streams=["rgb"])
        worker = Decreed(site.database)
        worker.run_all(lambda claim: end(site.database, worker, claim))  # noqa: B023 - it is over before the next
        answer = site.client.get("/leaderboard", params={**BOARD, "format": "csv"})
        rows = list(csv.reader(io.StringIO(answer.text)))
        [mine] = [row for row in rows if made in row]
        assert [cell for cell in mine if cell.startswith(begin)] == []
        assert any(cell.startswith(f"'{sign}1+cmd") for cell in mine)
    for form in ("markdown", "latex"):
        text = site.client.get("/leaderboard", params={**BOARD, "format": form}).text
        assert "<script>" not in text
    report = site.client.get(f"/experiments/{hostile.left}/report", params={"format": "markdown"}).text
    assert "<script>" not in FENCED.sub("", report)


FENCED = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)
"""Markdown shows what stands in a fence as it is."""
BOARD = {"dataset": "motion_shapes", "stream": "rgb", "split": "1", "limit": "1000"}
