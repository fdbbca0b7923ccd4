from cli.feed import Event, parse


def test_events_are_read_as_the_standard_says():
    stream = [
        ": keeps the connection open",
        "",
        "id: 7",
        "event: stage.running",
        'data: {"stage_key": "k",',
        'data: "attempt": 1}',
        "",
        'data:{"without": "a blank"}',
        "",
        "event: cut off",
        'data: {"never": "sent"}',
    ]
    assert list(parse(stream)) == [
        Event("7", "stage.running", {"stage_key": "k", "attempt": 1}),
        Event(None, "message", {"without": "a blank"}),
    ]
