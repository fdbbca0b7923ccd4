"""The leaderboard: ranks within a protocol, names what a mean lacks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import SecretStr

from services.db.tables import DatasetRow, ExperimentRow
from tests import published
from tests.api.clients import client_of


def get(client, **query):
    return client.get("/leaderboard", params={"dataset": "motion_shapes", "stream": "rgb"} | query)


def test_ranks_complete_means_and_names_missing_splits(client, submit, worker):
    better = submit(name="better", splits=[1, 2, 3], model={"kind": "ts_lstm"})
    worker(0.75).finish_all()
    worse = submit(name="worse", splits=[1, 2, 3], model={"kind": "mean_pooling"})
    worker(0.5).finish_all()
    part = submit(name="part", splits=[2], model={"kind": "max_pooling"})
    worker(0.9).finish_all()
    body = get(client).json()
    assert (body["dataset"], body["split"], body["stream"], body["metric"]) == (
        "motion_shapes", "mean", "rgb", "top1",
    )  # fmt: skip
    assert [(row["rank"], row["experiment_id"], row["value"]) for row in body["rows"]] == [
        (1, better["id"], 0.75), (2, worse["id"], 0.5),
    ]  # fmt: skip
    first = body["rows"][0]
    assert first["splits"] == {"1": 0.75, "2": 0.75, "3": 0.75}
    assert (first["name"], first["model"], first["missing_splits"], first["seeds"]) == ("better", "ts_lstm", [], 1)
    low, high = first["confidence_interval"]
    assert 0 <= low < 0.75 < high <= 1
    [lacking] = body["incomplete"]
    assert (lacking["experiment_id"], lacking["value"], lacking["rank"]) == (part["id"], None, None)
    assert lacking["missing_splits"] == [1, 3]
    assert lacking["splits"] == {"2": 0.9}
    second_split = get(client, split="2").json()
    assert [row["experiment_id"] for row in second_split["rows"]] == [part["id"], better["id"], worse["id"]]
    assert get(client, limit=1).json()["rows"] == body["rows"][:1]


def test_other_protocols_are_named_and_not_mixed(client, submit, worker):
    submit(splits=[1])
    submit(splits=[1], seeds=[1])
    other = submit(splits=[1], evaluation={"frames": 10})
    worker().finish_all()
    body = get(client, split="1").json()
    assert len(body["rows"]) == 2
    assert body["protocol"].startswith("25 frames")
    [(name, count)] = body["other_protocols"].items()
    assert (name[:9], count) == ("10 frames", 1)
    [row] = get(client, split="1", protocol=name).json()["rows"]
    assert row["experiment_id"] == other["id"]


def test_an_epoch_chosen_on_the_test_list_is_flagged_and_ranked_only_if_asked(client, submit, worker):
    made = submit(splits=[1], training={"selection": "test"})
    worker().finish_all()
    assert get(client, split="1").json()["rows"] == []
    [row] = get(client, split="1", selected_on_test="flag").json()["rows"]
    assert (row["experiment_id"], row["selected_on_test"]) == (made["id"], True)
    results = client.get(f"/experiments/{made['id']}/results").json()
    assert {result["selected_on_test"] for result in results} == {True}


def test_empty_board(shared):
    body = get(shared).json()
    assert (body["rows"], body["incomplete"], body["protocol"]) == ([], [], None)


@pytest.mark.parametrize(
    ("query", "field", "allowed"),
    [
        ({"split": "4"}, "split", "mean, 1, 2 or 3"),
        ({"stream": "depth"}, "stream", "rgb, flow or two-stream"),
        ({"selected_on_test": "maybe"}, "selected_on_test", "exclude or flag"),
        ({"metric": "loss"}, "metric", "one of top1, top5, mean_class"),
        ({"limit": "0"}, "limit", "greater than or equal to 1"),
        ({"limit": "9" * 40}, "limit", "less than or equal to 1000"),
        ({"dataset": "a\0"}, "dataset", "control characters"),
        ({"protocol": "a\0"}, "protocol", "control characters"),
        ({"dataset": ""}, "dataset", "at least 1 character"),
        ({"dataset": "ucf1O1"}, "dataset", "motion_shapes"),
        ({"model": "ts-lstm"}, "model", "ts_lstm"),
        ({"vary": "frame"}, "vary", "frames, snippet, positions"),
        ({"vary": "frames,"}, "vary", "flow.stack"),
        ({"seeds": "0"}, "seeds", "greater than or equal to 1"),
        ({"source": "experiment"}, "source", "trained, ensemble or uploaded"),
        ({"format": "xml"}, "format", "json, csv, markdown or latex"),
    ],
)
def test_bad_queries_are_422(shared, query, field, allowed):
    answer = get(shared, **query)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == field
    assert allowed in error["allowed"]


def test_dataset_is_needed(shared):
    answer = shared.get("/leaderboard")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "dataset"


def test_an_answer_that_a_client_has_is_not_sent_again_until_something_changes(client, database, submit, worker):
    submit(splits=[1])
    worker().finish_all()
    first = get(client, split="1")
    tag = first.headers["etag"]
    assert (first.headers["vary"], first.headers["cache-control"]) == ("Accept", "private, no-cache")

    def again(given=tag, **query):
        return client.get(
            "/leaderboard",
            params={"dataset": "motion_shapes", "stream": "rgb", "split": "1"} | query,
            headers={"If-None-Match": given},
        )

    for given in (tag, f'"other", W/{tag}', "*"):
        answer = again(given)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    for query in ({"limit": 5}, {"format": "csv"}, {"split": "2"}):
        assert again(**query).status_code == 200
    assert again("*", cursor="x").status_code == 400
    other = submit(splits=[1], seeds=[4])
    assert again().status_code == 304  # nothing was measured yet
    worker(0.75).finish_all()
    answer = again()
    assert (answer.status_code, answer.json()["rows"][0]["experiment_id"]) == (200, other["id"])
    tag = answer.headers["etag"]
    with database.transaction() as session:
        session.get_one(ExperimentRow, other["id"]).flags = [
            {"code": "x", "severity": "flagged", "field": "f", "sentence": "doubtful"}
        ]
    answer = again(tag)
    assert (answer.status_code, answer.json()["rows"][0]["flags"][0]["code"]) == (200, "x")
    tag = answer.headers["etag"]
    with database.transaction() as session:
        session.get_one(DatasetRow, "motion_shapes").revision += 1
    assert again(tag).status_code == 200


def test_a_question_that_was_answered_is_answered_at_once_and_never_by_what_is_over(client, database, settings):
    def publish(value):
        with database.transaction() as session:
            published.publish(session, published.experiment(session), [published.mean(value)])

    publish(0.5)
    with client_of(settings) as other:  # another process over the same database
        for value in (0.6, 0.7):
            tags = [get(api).headers["etag"] for api in (client, other, client, other)]
            assert len(set(tags)) == 1
            for api in (client, other):
                answer = api.get(get(api).request.url, headers={"If-None-Match": tags[0]})
                assert (answer.status_code, answer.headers["vary"]) == (304, "Accept")
            publish(value)
            for api in (client, other):
                answer = api.get(get(client).request.url, headers={"If-None-Match": tags[0]})
                assert (answer.status_code, answer.json()["rows"][0]["value"]) == (200, value)
    first, again = get(client, limit=1), get(client, limit=1)
    assert (first.headers["link"], first.content) == (again.headers["link"], again.content)
    assert client.request("GET", again.request.url, json={"dataset": "x"}).status_code == 422
    assert client.get(again.request.url, headers=[("authorization", "a"), ("authorization", "b")]).status_code == 422


def test_a_question_that_was_answered_asks_for_the_token_again(settings):
    closed = settings.model_copy(update={"api_token": SecretStr("t"), "read_requires_token": True})
    with client_of(closed) as client:
        known = {"Authorization": "Bearer t"}
        first = client.get("/leaderboard?dataset=motion_shapes", headers=known)
        assert client.get("/leaderboard?dataset=motion_shapes", headers=known).content == first.content
        for headers in ({}, {"Authorization": "Bearer x"}):
            tag = {"If-None-Match": first.headers["etag"]}
            assert client.get("/leaderboard?dataset=motion_shapes", headers=headers | tag).status_code == 401


def test_a_change_is_seen_whichever_of_two_transactions_commits_first(client, database):
    def publish():
        with database.transaction() as session:
            published.publish(session, published.experiment(session), [published.mean(0.5)])
            yield
        yield

    with database.transaction() as session:  # the protocol of both
        published.publish(session, published.experiment(session), [published.mean(0.5)])
    tags = [get(client).headers["etag"]]
    first, second = publish(), publish()
    for one in (first, second, second, first):  # the first to write is the last to commit
        next(one)
        tags.append(get(client).headers["etag"])
    assert tags[0] == tags[1] == tags[2]
    assert len(set(tags[2:])) == 3
    assert len(get(client).json()["rows"]) == 3


def test_filters(client, database):
    with database.transaction() as session:
        for model, source, uploaded, seeds in (
            ("tsn", "experiment", False, 1), ("lstm", "experiment", False, 3),
            ("ensemble", "ensemble", False, 3), ("ensemble (uploaded)", "ensemble", True, 1),
        ):  # fmt: skip
            made = published.experiment(session, name=model)
            rows = [replace(published.mean(value), seeds=seeds) for value in (0.5,)]
            published.publish(session, made, rows, model=model, source=source, uploaded=uploaded)
        published.publish(session, published.experiment(session), [published.mean(None)], model="tsn")

    def names(**query):
        body = get(client, **query).json()
        assert (body["total"], body["total_incomplete"]) == (len(body["rows"]), len(body["incomplete"]))
        return sorted(row["name"] for row in (*body["rows"], *body["incomplete"]))

    assert names() == ["ensemble", "ensemble (uploaded)", "lstm", "tsn", "x"]
    assert names(model="tsn") == ["tsn", "x"]
    assert names(source="trained") == ["lstm", "tsn", "x"]
    assert names(source="ensemble") == ["ensemble"]
    assert names(source="uploaded") == ["ensemble (uploaded)"]
    assert names(seeds=2) == ["ensemble", "lstm"]
    assert names(seeds=2, source="trained", model="lstm") == ["lstm"]


def test_a_board_across_fields_of_protocols_shows_each_entry_s_own(client, submit, worker):
    submit(name="few", splits=[1], evaluation={"frames": 10})
    submit(name="many", splits=[1])
    submit(name="crops", splits=[1], evaluation={"crops": "stretch"})
    worker().finish_all()
    body = get(client, split="1", vary="frames").json()
    assert (len(body["rows"]), body["vary"], len(body["other_protocols"])) == (2, ["frames"], 1)
    assert {row["name"]: row["varied"] for row in body["rows"]} == {"few": {"frames": 10}, "many": {"frames": 25}}
    assert len(get(client, split="1", vary="frames,crops").json()["rows"]) == 3


def test_a_row_says_by_what_its_network_differs_from_its_kind(client, submit, worker):
    submit(splits=[1], model={"kind": "ts_lstm", "hidden": 1024, "segments": 5})
    submit(splits=[1], model={"kind": "ts_lstm"})
    worker().finish_all()
    rows = get(client, split="1").json()["rows"]
    assert {row["network"]: (row["model"], row["options"]) for row in rows} == {
        "ts_lstm (segments 5, hidden 1024)": ("ts_lstm", {"hidden": [1024], "segments": 5}),
        "ts_lstm": ("ts_lstm", {}),
    }


JSON, CSV, MARKDOWN, LATEX = "application/json", "text/csv", "text/markdown", "application/x-latex"


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("text/*;q=0.9, text/csv;q=0.1", "text/markdown"),
        ("application/json;q=0, */*", "text/csv"),
        ("*/*, text/markdown", "application/json"),
        ("text/markdown, text/csv", "text/markdown"),
        ("TEXT/CSV; charset=utf-8", "text/csv"),
        ("image/png", "application/json"),
        ("*/*;q=0", "application/json"),
        (";;;,,", "application/json"),
    ],
)
def test_the_most_exact_range_says_how_well_a_format_is_liked(shared, accept, media):
    answer = shared.get("/leaderboard?dataset=motion_shapes", headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == media


@pytest.mark.parametrize(
    ("asked", "accept", "media", "beginning"),
    [
        (None, "*/*", JSON, "{"),
        (None, "text/html, application/xhtml+xml", JSON, "{"),
        (None, "text/csv", CSV, "rank,rank_group,"),
        (None, "text/markdown;q=0.9, text/csv;q=0.5", MARKDOWN, "**Top"),
        (None, "application/x-latex, */*;q=0.1", LATEX, "% needs"),
        (None, "text/csv;q=x", JSON, "{"),
        ("latex", "application/json", LATEX, "% needs"),
        ("json", "text/csv", JSON, "{"),
    ],
)
def test_formats(shared, asked, accept, media, beginning):
    query = {"dataset": "motion_shapes"} | ({} if asked is None else {"format": asked})
    answer = shared.get("/leaderboard", params=query, headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == media
    assert answer.text.startswith(beginning)


def test_the_document_has_all_formats(shared):
    described = shared.get("/openapi.json").json()["paths"]["/leaderboard"]["get"]["responses"]
    assert set(described["200"]["content"]) == {JSON, CSV, MARKDOWN, LATEX}
    assert "304" in described


def test_the_next_page_is_linked_in_every_format(client, database):
    with database.transaction() as session:
        for value in (0.5, 0.25):
            published.publish(session, published.experiment(session), [published.mean(value)])
    for form in ("json", "csv"):
        answer = get(client, format=form, limit=1)
        following = client.get(answer.links["next"]["url"])
        assert "0.25" in following.text
        assert "next" not in following.links


def test_what_the_papers_print_stands_apart_and_is_never_ranked(client, database):
    with database.transaction() as session:
        session.merge(DatasetRow(name="ucf101"))
        session.flush()
        published.publish(session, published.experiment(session, "ucf101"), [published.mean(0.5)])
    plain = get(client, dataset="ucf101").json()
    assert plain["published"] is None
    board = get(client, dataset="ucf101", published="true").json()
    assert board | {"published": None} == plain
    assert [row["rank"] for row in board["rows"]] == [1]
    assert len(board["published"]) == 4
    both = get(client, dataset="ucf101", stream="two-stream", published="true").json()
    said = [row["printed"] if row["corrected"] is None else row["corrected"] for row in both["published"]]
    assert said == sorted(said, reverse=True)
    assert {row["origin"] for row in both["published"]} == {"own", "quoted"}
    assert all((row["origin"] == "quoted") == (row["quoted_from"] is not None) for row in both["published"])
    assert [row["rank"] for row in both["rows"]] == []
    first = both["published"][0]
    for form, block in (("csv", "\r\n\r\npaper,table,"), ("markdown", "**Published"), ("latex", "Published")):
        text = get(client, dataset="ucf101", stream="two-stream", published="true", format=form).text
        assert block in text
        assert str(first["printed"]).removesuffix(".0") in text
        assert "Published" not in get(client, dataset="ucf101", format=form).text
    assert get(client, dataset="ucf101", split="1", metric="top5", published="true").json()["published"] == []


def test_an_unknown_protocol_is_404_with_the_nearest(client, database):
    with database.transaction() as session:
        for line in ("25 frames, 10 crops", "another"):
            published.publish(session, published.experiment(session), [published.mean(0.5)], protocol=line)
    answer = get(client, protocol="25 frames, 5 crops")
    assert answer.status_code == 404
    assert "hint: one of 25 frames, 10 crops" in answer.json()["detail"]
    assert get(client, protocol="another").json()["rows"]
    assert get(client, stream="flow", protocol="another").json()["rows"] == []
