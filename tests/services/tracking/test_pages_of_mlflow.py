"""What a person sees in MLflow's own page of runs, in a real browser, at the address that `up` prints."""

from __future__ import annotations

import re

import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser, expect

from services.api_keys import LOCAL
from services.db.engine import Database
from services.errors import Cause
from services.queue import experiments
from services.tracking.addresses import run_page, runs_page
from services.tracking.mlflow_server import folder_name
from services.tracking.sender import Tracker
from tests.browser.conftest import chromium  # noqa: F401 - a fixture
from tests.services.conftest import Decreed, small_spec, submit
from tests.services.tracking.conftest import Server

pytestmark = [pytest.mark.xdist_group("mlflow"), pytest.mark.timeout(600)]
PATIENCE = 120_000
"""Milliseconds; MLflow's page is large, and the tests share their cores."""
COLUMNS = ("top1", "mean_class", "model", "stream", "split", "flags")


def retried(database: Database, name: str) -> str:
    """Run an experiment that fails once, and is tried again."""
    row = submit(database, small_spec(name=name)).row
    worker = Decreed(database)
    worker.run_all(
        lambda claim: worker.fail(claim, Cause.DATA_ERROR) if claim.kind == "train" else worker.succeed(claim)
    )
    with database.transaction() as session:
        experiments.retry(session, row.id, LOCAL)
    worker.run_all()
    return row.id


@pytest.mark.long  # the other files here ask the same server without a browser
def test_runs_stand_there_with_what_they_reached_and_their_last_end(
    database: Database,
    tracker: Tracker,
    client: MlflowClient,
    server: Server,
    chromium: Browser,  # noqa: F811 - likewise
) -> None:
    name = "seen by a person"
    id_ = retried(database, name)
    tracker.drain()
    folder = client.get_experiment_by_name(folder_name("motion_shapes")).experiment_id
    with database.transaction() as session:
        run_id = str(experiments.get(session, id_).mlflow_run_id)
    page = chromium.new_page(viewport={"width": 1600, "height": 900})
    try:
        page.goto(runs_page(server.url, folder))
        expect(page.get_by_text(name).first).to_be_visible(timeout=PATIENCE)
        for column in COLUMNS:
            header = page.get_by_role("columnheader").filter(has_text=re.compile(rf"\b{column}$"))
            expect(header.first).to_be_attached(timeout=PATIENCE)
        row = page.get_by_role("row").filter(has_text="0.5")
        expect(row.first).to_be_visible(timeout=PATIENCE)
        page.goto(run_page(server.url, folder, run_id))
        expect(page.get_by_text("Finished", exact=True).first).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text("Failed", exact=True)).to_have_count(0)
    finally:
        page.close()
