"""Citations of the four papers lead to where the thing stands: sections, tables and equations, copied out by hand.

MATDL has headings without numbers. A section is cited for what it speaks of: the words below, one of which must stand
near the citation.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("models", "services", "worker", "docs", "tests", "benchmarks", "api", "cli")
SECTIONS: dict[str, dict[str, str]] = {
    "MATDL": {},
    "TS-LSTM": {
        "3.1": r"ConvNet|ResNet|rgb|flow|stack|concatenat|frame|features",
        "3.2": r"TS-LSTM|Temporal Segment LSTM|segment|BN|ts_lstm",
        "3.3": r"Temporal-ConvNet|Convolutions over time|temporal_convnet|Temporal-Inception|1024",
        "3.4.1": r"frames?|rate|area|aspect|crop|bound|flow|batch|decay|forward pass|train",
        "4": r"HMDB51|UCF101",
        "4.1": r"two.stream|probabilities",
        "4.2": r"TS-LSTM|LSTM layers|two-layer|pooling|segments",
        "4.3": r"Temporal-Inception|kernel",
        "4.4": r"10 s|seconds|first",
    },
    "VideoLSTM": {
        "3.1": r"attention|ConvLSTM|LSTM|conv",
        "3.2": r"motion|flow|bottom|VideoLSTM|video_lstm",
        "4": r"attention|attends|saliency|boxes|tubes?|threshold|smooth|Gaussian|scores",
        "5.1": r"split",
        "5.2": r"LSTM|hidden|state|kernel|channels|dropout|width|tanh|flow|frames|batch|rate|VGG|steps|runs?|softmax",
        "5.3": r"product|fused|Table 3",
        "5.4": r"thresholds?|IoU|saliency|recall|attention",
    },
    "Relational LSTM": {
        "3": r"relation|non-local|state|parts|C / 2",
        "4": r"conv5|H_0|branch|stack|flow fields|video",
        "5.2": r"momentum|moving|dropout|snippets|epochs|T = 8|Xavier|pretrained|starts|from_rgb|crops|places|groups|"
        r"rgb|positions|test|optimizer|streams|batch|weights|Table 5",
    },
}
TABLES = {"MATDL": 4, "TS-LSTM": 10, "VideoLSTM": 4, "Relational LSTM": 5}
EQUATIONS = {"MATDL": 10, "TS-LSTM": 0, "VideoLSTM": 17, "Relational LSTM": 4}
PAPER = re.compile("|".join(SECTIONS))
SECTION = re.compile(r"\bsec(?:tion|s)?s?\.? ?(\d+(?:\.\d+)*(?:(?:, | and )\d+(?:\.\d+)+)*)")
TABLE = re.compile(r"\bTables? (\d+)(?:(?:,| and| to) (\d+))*")
EQUATION = re.compile(r"\b(?:eqs?\.?|equations?) (\d+)(?:(?:,| and| to) (\d+))*", re.IGNORECASE)
OTHERS = {"test_recipe_numbers.py", "brox.py", "feed.py", "farneback.py", "tvl1.py", "raft.py", "dis.py"}
"""Files on other papers and standards, which cite their sections, and a table that names the paper elsewhere."""


class Citation(NamedTuple):
    """A place that a text names, with the text around it."""

    file: Path
    line: int
    paper: str
    number: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}: {self.paper}, {self.number}: {self.text}"


@cache
def texts() -> list[tuple[Path, list[str]]]:
    return [
        (file, file.read_text(encoding="utf-8").splitlines())
        for folder in FOLDERS
        for file in sorted((ROOT / folder).rglob("*"))
        if file.suffix in {".py", ".md"} and file.name not in OTHERS and file != Path(__file__)
    ]


@cache
def citations(pattern: re.Pattern[str]) -> list[Citation]:
    """Find citations; a line that names no paper cites that of its heading, or the one that the file names first."""
    found = []
    for file, lines in texts():
        first = PAPER.search("\n".join(lines[:12]))
        for number, line in enumerate(lines, 1):
            if line.startswith("## "):
                first = PAPER.search(line) or first
            for match in pattern.finditer(line):
                before = [name.group() for name in PAPER.finditer(line[: match.start()])]
                paper = before[-1] if before else first.group() if first else ""
                around = " ".join(lines[max(0, number - 3) : number + 2])
                numbers = re.findall(r"\d+(?:\.\d+)*", match.group())
                found += [Citation(file, number, paper, each, around) for each in numbers if paper]
    return found


def test_there_are_citations() -> None:
    assert len(citations(SECTION)) > 60
    assert len(citations(TABLE)) > 20
    assert len(citations(EQUATION)) > 20


def test_sections_exist_and_speak_of_what_they_are_cited_for() -> None:
    wrong = [
        str(citation)
        for citation in citations(SECTION)
        if not re.search(SECTIONS[citation.paper].get(citation.number, r"(?!)"), citation.text, re.IGNORECASE)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("pattern", "last"), [(TABLE, TABLES), (EQUATION, EQUATIONS)], ids=["tables", "equations"])
def test_tables_and_equations_exist(pattern: re.Pattern[str], last: dict[str, int]) -> None:
    wrong = [str(found) for found in citations(pattern) if not 1 <= int(found.number) <= last[found.paper]]
    assert not wrong, "\n".join(wrong)


def test_no_text_outside_the_repository_is_cited() -> None:
    assert not [file for file, lines in texts() if any("systems.md" in line for line in lines)]
