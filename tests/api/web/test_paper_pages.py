"""A paper's table as a page: what is printed, what was measured, and the command for what is missing."""

from __future__ import annotations

import re

HTML = {"Accept": "text/html"}
TABLE = "/papers/ts_lstm/tables/3"
ROW = "TS3 BN Max+LSTM512 BN FC101"


def read(client, path):
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


def row_of(text, words):
    [found] = [row for row in re.findall(r"<tr[^>]*>(.*?)</tr>", text, flags=re.DOTALL) if words in row]
    return " ".join(re.sub(r"<[^>]*>", " ", found).split())


def test_every_table_is_linked_and_is_a_page(shared):
    links = re.findall(r'href="(/papers/[^"]*/tables/[^"]*)"', read(shared, "/papers"))
    assert len(links) == sum(len(paper["tables"]) for paper in shared.get("/papers").json()["items"])
    for link in links:
        assert "Printed and measured" in read(shared, link)


def test_a_paper_says_how_far_each_table_is(client, worker):
    for each in client.get("/papers").json()["items"]:
        text = read(client, f"/papers/{each['name']}")
        assert f"twostream papers fill {each['name']}\n" in text
        for table in each["tables"]:
            assert f'href="/papers/{each["name"]}/tables/{table["name"]}"' in text
        cells = row_of(text, '<th scope="row">All</th>').split()
        assert cells[1:3] == [str(each["printed"]), str(each["own"])]
        assert cells[4:] == ["0", "0"]
        assert int(cells[3]) <= int(cells[2])
    body = {"rows": [ROW], "dataset": "motion_shapes", "backbone": "tiny", "epochs": 1}
    client.post(f"{TABLE}/launch", json=body)
    worker(top1=0.75).finish_all()
    text = read(client, "/papers/ts_lstm")
    assert row_of(text, f'href="{TABLE}"').split()[5:7] == ["1", "0"]
    assert "misprint" not in text.lower() or "<s>" in text
    assert 'href="/papers/ts_lstm"' in read(client, "/papers")


def test_a_misprint_is_struck_through_and_what_is_quoted_says_from_where(shared):
    text = read(shared, "/papers/ts_lstm/tables/2")
    assert "<s>92.6</s> 62.6" in text
    assert "misprint: the printed mean, 64.6, and the other splits" in text
    assert "quoted from reference 16" in read(shared, "/papers/ts_lstm/tables/5")


def test_what_is_measured_stands_beside_the_print(client, worker):
    body = {"rows": [ROW], "dataset": "motion_shapes", "backbone": "tiny", "epochs": 1}
    assert row_of(read(client, TABLE), ROW).endswith("not launched")
    assert "twostream papers fill ts_lstm 3" in read(client, TABLE)
    made = client.post(f"{TABLE}/launch", json=body).json()["experiments"][0]["id"]
    assert "queued" in row_of(read(client, TABLE), ROW)
    worker(top1=0.75).finish_all()
    text = read(client, TABLE)
    row = row_of(text, ROW)
    for words in ("94.3 75.0", "-19.3", " own ", "on another dataset: motion_shapes", "reduced", "test list"):
        assert words in row
    assert f'href="/experiments/{made}"' in text
    assert "measured on motion_shapes, not on ucf101" in row
    own = read(client, f"/experiments/{made}")
    assert f'href="{TABLE}"' in own
    beside = row_of(own, "reduced here")
    for words in (f"TS-LSTM, 3 {ROW}", "on ucf101 there", "94.3 75.0", "-19.3"):
        assert words in beside
    [report] = re.findall(r'href="(/experiments/[^"]*/report[^"]*)"', own)
    assert "TS-LSTM" in client.get(report).text


def test_a_name_that_nothing_has_is_shown_as_text(shared):
    answer = shared.get("/papers/ts_lstm/tables/<b>x", headers=HTML)
    assert answer.status_code == 404
    assert "&lt;b&gt;x" in answer.text
    assert "<b>x" not in answer.text
