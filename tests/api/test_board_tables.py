"""A board as CSV, Markdown and LaTeX: free text of others never becomes markup."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from datetime import UTC, datetime

import pytest

from api.board import Entry, Leaderboard, WithdrawnEntry
from api.board_tables import as_csv, as_latex, as_markdown, latex, markdown
from api.spreadsheet import FORMULA
from services.board.leaderboard import Board, Standing

HOSTILE = (
    r"a_b 50% & #1 \input{x} {y} $z$ ^2 ~ <i> |bar| [l](u) *b* `c` -- --- '' ?` 'q' " + '"d" é ß 中 \U0001f600\n=2'
)
PROTOCOL = "25 frames_x, 100 % & more"


def standing(rank: int, name: str = "plain", **changes: object) -> Standing:
    values: dict[str, object] = {
        "rank": rank, "experiment_id": f"exp_{rank}", "name": name, "model": "ts_lstm", "source": "experiment",
        "uploaded": False, "value": 0.9436 - rank / 100, "spread": 0.0021, "lower": 0.93, "upper": 0.95, "seeds": 3,
        "clips": 11349, "excluded": 0, "splits": {1: 0.95, 2: 0.94, 3: 0.93}, "missing_splits": (), "group": 1,
        "label": "ts_lstm (hidden 1024)", "options": {"hidden": [1024]}, "split_spread": 0.01, "varied": {"frames": 25},
    }  # fmt: skip
    return Standing(**(values | changes))  # type: ignore[arg-type]


def board(*rows: Standing) -> Leaderboard:
    found = Board("ucf_101", 1, False, None, "two-stream", "top1", PROTOCOL, ("frames",), rows=rows, total=len(rows))
    return Leaderboard.of(found.__class__(**{**vars(found), "test": "McNemar, exact, Holm"}))


BOARD = board(standing(1, HOSTILE), standing(2, spread=None, seeds=1, selected_on_test=True))


def test_csv_has_every_column_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(board(standing(1, HOSTILE), standing(2, "=1+1"))), newline="")))
    assert [row["name"] for row in rows] == [HOSTILE, "'=1+1"]
    first = rows[0]
    assert (first["top1"], first["std"], first["split_std"], first["rank_group"]) == ("0.9336", "0.0021", "0.01", "1")
    assert (first["options"], first["frames"], first["split_3"]) == ('{"hidden": [1024]}', "25", "0.93")
    columns = {"rank", "experiment_id", "source", "uploaded", "lower", "upper", "seeds", "clips", "selected_on_test"}
    assert columns <= first.keys()
    assert columns | Entry.model_fields.keys() - {"value", "confidence_interval", "splits", "varied", "model"} <= (
        first.keys()
    )


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_of_a_csv_is_a_formula_and_numbers_stay_numbers(sign: str) -> None:
    typed = f"{sign}1+cmd"
    found = board(standing(1, typed, varied={"frames": typed}, value=-0.25, label=typed))
    gone = {
        "experiment_id": "exp_9",
        "name": typed,
        "value": None,
        "reason": typed,
        "by": typed,
        "at": datetime.now(UTC),
    }
    found.withdrawn = [WithdrawnEntry(**gone)]
    cells = [cell for row in csv.reader(io.StringIO(as_csv(found), newline="")) for cell in row]
    assert cells.count(f"'{typed}") == 6
    assert [cell for cell in cells if cell.startswith(FORMULA)] == ["-0.25"]


def test_markdown_is_one_table_whatever_names_hold() -> None:
    lines = as_markdown(BOARD).splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {12}
    assert "**93.36** ± 0.21" in table[2]
    assert "epoch chosen on the test list" in table[3]
    assert "**" not in table[3]
    assert markdown("<b>|x|_y_* $z$") == r"\<b\>\|x\|\_y\_\* \$z\$"
    assert "McNemar, exact, Holm" in lines[-1]


def test_latex_escapes_all_that_has_a_meaning() -> None:
    plain = latex(HOSTILE)
    for command in (
        r"\textbackslash{}", r"\{", r"\}", r"\$", r"\&", r"\#", r"\%", r"\_", r"\textasciicircum{}",
        r"\textasciitilde{}", r"\textless{}", r"\textgreater{}", r"\textbar{}", r"\textquotedbl{}",
        r"\textasciigrave{}",
    ):  # fmt: skip
        assert command in plain
        plain = plain.replace(command, "")
    assert not set('\\{}$&#%_^~<>|"`\n') & set(re.sub(r"\\texttt\{U\+[0-9A-F]+\}|\{\}", "", plain))
    assert r"\texttt{U+4E2D}" in plain
    assert (latex("a,,b"), latex("ħ")) == (
        "a,{},b",
        r"\texttt{U+0127}",
    )  # a quotation mark of T1's, and no letter of its
    assert r"\texttt{U+1F600}" in plain
    assert "éß" in plain.replace(" ", "")
    assert "--" not in plain


def test_latex_is_a_table_of_booktabs() -> None:
    lines = as_latex(BOARD).splitlines()
    (head,) = (line for line in lines if line.startswith(r"\begin{tabular}"))
    alignment = head.removeprefix(r"\begin{tabular}{").removesuffix("}")
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    header = lines[lines.index(r"\toprule") + 1]
    assert len(body) == 2
    for line in (header, *body):
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == len(alignment) - 1
    assert r"\textbf{93.36} $\pm$ 0.21" in body[0]
    assert "textbf" not in body[1]
    for text in (as_latex(BOARD),):
        depth = 0
        for brace in re.findall(r"(?<!\\)[{}]", text):
            depth += 1 if brace == "{" else -1
            assert depth >= 0
        assert depth == 0


ENGINE = next(filter(None, map(shutil.which, ("pdflatex", "lualatex", "xelatex", "tectonic"))), None)


@pytest.mark.skipif(ENGINE is None, reason="no LaTeX engine is installed")
def test_latex_compiles(tmp_path) -> None:
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs,textcomp}"
    (tmp_path / "x.tex").write_text(
        rf"\documentclass{{article}}{packages}\begin{{document}}" + "\n" + as_latex(BOARD) + r"\end{document}"
    )
    assert ENGINE is not None
    options = [] if "tectonic" in ENGINE else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run([ENGINE, *options, "x.tex"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
