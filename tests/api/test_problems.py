"""The error table: every error is a problem document, and none tells internals."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from services.errors import Conflict, InvalidRequest, NotFound, StageError, Unavailable
from tests.api.clients import ADDRESS


@pytest.fixture(scope="module")
def failing(shared_settings):
    """An application with a route that raises what it is told to."""
    app = create_app(shared_settings)
    errors = {
        "invalid": InvalidRequest("model.segments", 99, "1 to 25"),
        "absent": NotFound("recipe", "tsn", "one of a, b"),
        "conflict": Conflict("it has finished"),
        "away": Unavailable("Postgres at host:5432: refused"),
        "stage": StageError("secret of a stage"),
        "bug": RuntimeError("secret password"),
    }

    @app.get("/raise/{name}")
    def fail(name: str) -> None:
        raise errors[name]

    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("invalid", 422, "model.segments: got 99, allowed: 1 to 25"),
        ("absent", 404, "no recipe named 'tsn'; hint: one of a, b"),
        ("conflict", 409, "it has finished"),
        ("away", 503, "Postgres at host:5432: refused"),
        ("stage", 500, "an error on our side"),
        ("bug", 500, "an error on our side"),
    ],
)
def test_each_error_has_its_status(failing, name, status, words):
    answer = failing.get(f"/raise/{name}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert words in body["detail"]
    assert body["instance"] == f"/raise/{name}"
    assert body["type"].startswith("urn:twostream:problem:")
    assert "secret" not in answer.text
    assert body.keys() == {"type", "title", "status", "detail", "instance", "errors", "findings"}


def test_unavailable_says_when_to_come_back(failing):
    assert failing.get("/raise/away").headers["retry-after"] == "5"


def test_unexpected_errors_are_logged(failing, caplog):
    failing.get("/raise/bug")
    assert "secret password" in caplog.text


def test_unknown_path_is_404(shared):
    answer = shared.get("/nowhere")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "nothing is at /nowhere"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/leaderboard", "GET, HEAD, OPTIONS"),
        ("/experiments", "GET, HEAD, OPTIONS, POST"),
        ("/experiments/exp_1/cancel", "OPTIONS, POST"),
        ("/static/style.css", "GET, HEAD, OPTIONS"),
    ],
)
def test_wrong_method_is_405_and_names_the_right_ones(shared, path, allowed):
    answer = shared.put(path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert answer.json()["detail"] == f"{path} does not take PUT, allowed: {allowed}"
    assert answer.json()["title"] == "Method Not Allowed"
