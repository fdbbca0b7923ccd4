"""Comparisons in words."""

from __future__ import annotations

import json

from tests import said

CLASSES, LABELS = ("Hop", "Run"), [0, 0, 0, 1, 1, 1]
IDS = [f"{CLASSES[label]}/v_g{place:02d}_c01" for place, label in enumerate(LABELS)]
ASKED = ("--split", "1", "--stream", "rgb")


def made(database, *ranks, widths=(8, 16, 32)):
    return [
        said.run(
            database,
            lambda split, seed, ranks=ranks: said.summary(CLASSES, LABELS, ranks, ids=IDS, split=split, seed=seed),
            **head,
        )
        for ranks, head in zip(ranks, said.heads(*widths), strict=False)
    ]


def test_two_experiments_and_heads(twostream, database):
    left, right, third = made(database, [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0], [0] * 6)
    code, out, _ = twostream("compare", left, right, *ASKED)
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert f"left width 8 ts_lstm 83.33 % - {left}" in lines
    assert "of 6 clips (seed 0 and seed 0) left alone gets 2, right alone 1" in lines
    assert "McNemar's exact test, two-sided: p = 1" in lines
    assert "both say the same of 50.00 %; both get 50.00 %; one of them gets 100.00 %" in lines
    assert "model.hidden 8 16" in lines
    assert "Hop 3 66.67 % 100.00 % +33.33" in lines
    assert f"{IDS[2]} Hop Run Hop" in lines
    assert any(line.startswith("right over left: -16.67 points, 95 % interval -") for line in lines)
    heads = twostream("compare", left, right, third, *ASKED)[1]
    rows = [" ".join(line.split()) for line in heads.splitlines()]
    assert f"width 8 ts_lstm 83.33 % - baseline - - - {left}" in rows
    assert any(row.startswith("width 32 ts_lstm 100.00 % - +16.67 +0.00 to +50.00 1 1 exp_") for row in rows)
    assert f"{right} differs in: model.hidden [8] -> [16]" in rows
    alone = json.loads(twostream("compare", left, right, "--controlled", *ASKED, "--json")[1])
    assert len(alone["gains"]) == 1


def test_what_cannot_be_compared_is_said(twostream, database):
    (left,) = made(database, [0] * 6, widths=[64])  # the tests of a file share a database, and so stages
    code, _, error = twostream("compare", left, left)
    assert code == 2
    assert "stream: got 'two-stream', allowed: a stream that left has: rgb" in error
    assert twostream("compare", left, "exp_ffff", *ASKED)[0] == 3
