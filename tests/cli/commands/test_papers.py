"""The papers' tables."""

from __future__ import annotations

import json

from tests.api.conftest import Worker

SMALL = ("--dataset", "motion_shapes", "--backbone", "tiny", "--epochs", "1")
ROW = "TS3 BN Max+LSTM512 BN FC101"


def test_papers_and_their_tables_are_listed(twostream):
    code, out, _ = twostream("papers", "list")
    assert code == 0
    assert "ts_lstm: TS-LSTM and Temporal-Inception" in out
    assert {item["name"] for item in json.loads(twostream("papers", "list", "--json")[1])["items"]} == {
        "matdl", "ts_lstm", "video_lstm", "relational_lstm",
    }  # fmt: skip


def test_a_table_has_misprints_quotations_and_what_is_missing(twostream):
    out = twostream("papers", "show", "ts_lstm", "2")[1]
    assert "62.6 (printed 92.6)" in out
    assert "0 of 24 own figures are measured" in out
    assert "quoted: reference 16" in twostream("papers", "show", "ts_lstm", "5")[1]
    assert "the printed splits, 60.3, 59.0 and 60.0" in twostream("papers", "show", "ts_lstm")[1].replace("\n", " ")
    code, _, error = twostream("papers", "show", "ts_lstm", "11")
    assert (code, "hint: one of 1, 10" in error) == (3, True)


def test_rows_are_launched_once_and_a_table_is_filled(twostream):
    dry = twostream("papers", "launch", "ts_lstm", "3", "--row", ROW, *SMALL, "--dry-run")[1]
    assert "1 experiment would be launched, 0 are there" in dry
    assert (
        "1 experiment launched, 0 are there" in twostream("papers", "launch", "ts_lstm", "3", "--row", ROW, *SMALL)[1]
    )
    again = json.loads(twostream("papers", "launch", "ts_lstm", "3", "--row", ROW, *SMALL, "--json")[1])
    assert (again["created"], again["reused"]) == (0, 1)
    filled = twostream("papers", "fill", "ts_lstm", "3", *SMALL)[1]
    assert "8 experiments launched, 1 are there" in filled
    assert "0 of 9 own figures are measured" in filled
    code, _, error = twostream("papers", "launch", "ts_lstm", "3", "--row", "TS3 BN Max+LSTM512", *SMALL)
    assert (code, f"rows.0: got 'TS3 BN Max+LSTM512', allowed: one of {ROW}" in error) == (2, True)


def test_a_table_lacks_the_seeds_that_are_asked_for(twostream, database):
    small = ("relational_lstm", "text", *SMALL, "--batch-size", "4", "--flow", "dis")
    twostream("papers", "launch", *small)
    Worker(database, 0.5).finish_all()
    assert "nothing is missing" in twostream("papers", "fill", *small, "--seed", "0")[1]
    filled = twostream("papers", "fill", *small, "--seed", "0", "--seed", "1")[1]
    assert "1 experiment launched, 0 are there" in filled
