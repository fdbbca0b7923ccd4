"""Words of a command line are what Typer makes of them, whoever reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from cli.values import read_plainly

SEEN: dict[str, Any] = {}
app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def take(
    name: str,
    others: Annotated[list[Path] | None, typer.Argument()] = None,
    count: Annotated[int, typer.Option(min=1, max=10)] = 3,
    share: float = 0.5,
    word: Annotated[list[str] | None, typer.Option()] = None,
    number: Annotated[list[int] | None, typer.Option()] = None,
    there: Annotated[Path | None, typer.Option(exists=True)] = None,
    flag: bool = False,
) -> None:
    SEEN.update(locals())


def outcome(command: Any, words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, dict[str, Any]]:
    SEEN.clear()
    with pytest.raises(SystemExit) as ended:
        command(words, prog_name="take")
    return ended.value.code, capsys.readouterr().err, dict(SEEN)


@pytest.mark.parametrize(
    "words",
    [
        "x", "x a b --count 10 --flag", "x --count 0", "x --count 11", "x --count ten", "x --count 1.0", "x --count +2",
        "x --count 1_0", "x --count 007", "x --share 0.25", "x --share y",
        "x --word a --word b", "x --number 1 --number -2",
        "x --number a", "x --there .", "x --there nowhere", "", "x --word", "x --count=3 y", "x -- --count",
    ],
)  # fmt: skip
def test_values_and_errors_are_typers_own(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = outcome(typer.main.get_command(app), words.split(), capsys)
    ours = outcome(read_plainly(typer.main.get_command(app)), words.split(), capsys)
    assert ours == theirs
    assert [type(value) for value in ours[2].values()] == [type(value) for value in theirs[2].values()]
