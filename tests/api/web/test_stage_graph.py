"""The plan as a list: by split, and in it by what needs what."""

from __future__ import annotations

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
