"""The plan as a list: by split, and in it by what needs what."""

from __future__ import annotations

import re

from tests.api.web.test_negotiation import HTML


def test_stages_stand_below_what_they_need(client, submit):
    made = submit(splits=[1, 2], backbone={"name": "tiny", "finetune": {"epochs": 1}})["id"]
    page = client.get(f"/experiments/{made}", headers=HTML).text
    shared, first, second = page.split('<ol class="stages">')[1:]
    assert "index motion_shapes" in shared
    assert "split" not in shared.partition("</ol>")[0]
    for number, part in ((1, first), (2, second)):
        names = [line for line in part.partition("</ol>")[0].splitlines() if 'class="name"' in line]
        assert all(f"split {number}" in name for name in names)
        assert len(names) == 5
    order = [first.index(f'<li class="depth{depth}">') for depth in range(4)]
    assert order == sorted(order)
    assert "no live worker serves queue" in shared
    assert "needs index motion_shapes (ready)" in first


def test_of_many_stages_those_that_differ_in_their_seed_alone_stand_together(client, submit, worker):
    made = submit(seeds=list(range(20)))["id"]
    someone = worker()
    while (claim := someone.claim()) is not None and claim.kind != "train":
        someone.succeed(claim)
    page = client.get(f"/experiments/{made}", headers=HTML).text
    lines = stages_of(page)
    waiting = re.compile(r"train .*?, split 1</span> <span class=\"state ready\">ready</span> <small>19 seeds")
    assert len([line for line in lines if waiting.search(line)]) == 1
    [alone] = [line for line in lines if 'class="state running"' in line]
    assert claim is not None
    assert f"seed {claim.params['seed']}<" in alone
    assert [len(re.findall("20 seeds", line)) for line in lines] == [0, 0, 0, 0, 1, 1]
    assert "the first: no live worker serves queue" in "".join(lines)
    assert "of 60 done" in page
    whole = client.get(f"/experiments/{made}?stages=all", headers=HTML).text
    assert len(stages_of(whole)) == 81
    assert f'href="/experiments/{made}?stages=all#stages"' in page
    assert f'href="/experiments/{made}#stages"' in whole


def test_of_few_stages_each_has_a_line(client, submit):
    page = client.get(f"/experiments/{submit(seeds=[0, 1, 2, 3])['id']}", headers=HTML).text
    assert "stages=all" not in page
    assert len([line for line in stages_of(page) if "seed 3" in line]) == 3


def stages_of(page: str) -> list[str]:
    """Return the lines of the stages."""
    part = page.partition('id="stages-live"')[2].partition("</section>")[0]
    return re.findall(r"<li class=\"depth.*?</li>", part, re.DOTALL)
