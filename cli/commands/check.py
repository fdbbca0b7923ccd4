"""`dataset check`: the doctor of a dataset.

The command line has no video library, so the doctor runs as a process of the worker package, on this host.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import FAILURE, INVALID, Client, CommandError
from cli.commands.datasets import read_excluded, read_lists, require_folders
from cli.output import JsonOption, print_table, progress_bar
from cli.target import home
from cli.terminal import print_json, say, say_text
from cli.transport import step
from services.datasets.layouts import LAYOUTS
from services.limits import MAX_FRAME_MEGAPIXELS

DOCTOR = (sys.executable, "-m", "worker.video.survey.doctor")
LARGEST_FRAME = "TWOSTREAM_MAX_FRAME_MEGAPIXELS"
NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
NAMED = 10  # clips of a finding that the table names
KEPT, LETTERS, KINDS = 20, 500, 50
"""Clips of a finding that the dataset's page names, letters of each, and kinds of a count."""
FACTS = ("classes", "clips", "excluded", "present", "frames", "interlaced", "turned", "mirrored", "decoder")
COUNTED = ("fps", "sizes", "codecs", "timing", "pixel_aspects", "pixel_formats", "audio", "others")
FINDINGS = ("deviations", "leaks", "missing", "undecodable", "miscounted", "differing", "duplicates", "surplus")


def check(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A registered dataset.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the clips of a dataset that is not registered.")] = None,
    splits: Annotated[Path | None, typer.Option(help="Folder of its lists.")] = None,
    layout: Annotated[str, typer.Option(help="Of its lists: ucf101 or hmdb51.")] = "ucf101",
    exclude: Annotated[
        Path | None, typer.Option(help="File of its clips to leave out; a registered dataset has its own.")
    ] = None,
    official: Annotated[
        str | None,
        typer.Option(help="Compare with the official counts of ucf101 or hmdb51; a dataset of that name is."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Clips decoded at once; as many as there are cores for it if not given.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Examine a dataset: lists, files, and every clip decoded from end to end.

    Exit code 1 if a clip is missing or does not decode, or a group of clips is on both sides of a split.
    """
    if official not in (None, *LAYOUTS):
        raise CommandError(f"--official: got {official!r}, allowed: {', '.join(LAYOUTS)}", INVALID)
    body = _registered(name) if root is None and splits is None else _given(root, splits, layout, exclude)
    official = official or (name if name in LAYOUTS else None)
    arguments = ["--root", body["root"], "--lists", body["annotations"], "--layout", body["layout"]]
    arguments += ["--state", str(_state(body)), "--threads", str(jobs or len(os.sched_getaffinity(0)))]
    arguments += ["--official", official] if official else []
    arguments += ["--max-frame-pixels", _max_frame_pixels()]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as excluded:
        excluded.write("".join(f"{path}\n" for path in body.get("excluded", ())))
        excluded.flush()
        report = _examine([*arguments, "--exclude", excluded.name])
    print_json(report) if json_output else _print(report)
    if "revision" in body:
        _keep(body, report)
    if report["missing"] or report["undecodable"] or report["leaks"]:
        raise typer.Exit(FAILURE)


def _registered(name: str | None) -> dict[str, Any]:
    if name is None:
        raise CommandError("NAME: not given, allowed: a registered dataset, or --root and --splits", INVALID)
    with Client.connect() as client:
        found: dict[str, Any] = client.get(f"/datasets/{step(name)}")
    if not found["root"]:
        raise CommandError(f"NAME: got {name!r}, allowed: a dataset with folders; this one is generated", INVALID)
    return found


def _given(root: Path | None, splits: Path | None, layout: str, exclude: Path | None) -> dict[str, Any]:
    if root is None or splits is None:
        missing = "--root" if root is None else "--splits"
        raise CommandError(f"{missing}: not given, allowed: a folder; --root and --splits go together", INVALID)
    require_folders(root, splits)
    lists = read_lists(splits, layout)
    excluded = [] if exclude is None else read_excluded(exclude, lists)
    folders = {"root": str(root.resolve()), "annotations": str(splits.resolve())}
    return {**folders, "layout": layout, "excluded": excluded}


def _state(body: dict[str, Any]) -> Path:
    """Return the folder of what is known about the clips below a root."""
    home().make_private()
    return home().path / "doctor" / hashlib.sha256(body["root"].encode()).hexdigest()[:16]


def _max_frame_pixels() -> str:
    """Return the setting of the workers, which is read without the others: those would double the command's start."""
    given = os.environ.get(LARGEST_FRAME) or str(MAX_FRAME_MEGAPIXELS)
    if NUMBER.fullmatch(given) is None or not (pixels := int(float(given) * 10**6)):
        raise CommandError(f"{LARGEST_FRAME}: got {given!r}, allowed: a number above 0", INVALID)
    return str(pixels)


def _examine(arguments: list[str]) -> dict[str, Any]:
    with (
        tempfile.TemporaryFile("w+") as errors,  # a full pipe would block the doctor
        subprocess.Popen([*DOCTOR, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True) as doctor,
    ):
        assert doctor.stdout is not None
        report: dict[str, Any] | None = None
        for line in _with_bar(map(json.loads, doctor.stdout)):
            report = line.get("report", report)
        code = doctor.wait()
        errors.seek(0)
        words = errors.read().strip()
    if report is None:
        why = words.splitlines()[-1] if words else f"the doctor ended without a report, with status {code}"
        raise CommandError(why, INVALID if code == INVALID else FAILURE)
    if words:
        say_text(words, error=True)
    return report


def _with_bar(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress_bar(*columns) as progress:
        bar = progress.add_task("decoding clips", total=None)
        for line in lines:
            if "done" in line:
                progress.update(bar, completed=line["done"], total=line["total"])
            yield line


def _keep(dataset: dict[str, Any], report: dict[str, Any]) -> None:
    """Have the API keep what was found, for the dataset's page; one that does not only says so."""
    found = {name: report[name] for name in FACTS} | {
        "revision": dataset["revision"],
        "counts": {name: dict(islice(report[name].items(), KINDS)) for name in COUNTED},
        "findings": {name: _first(report[name]) for name in FINDINGS},
    }
    try:
        with Client.connect() as client:
            client.post(f"/datasets/{step(dataset['name'])}/check", found)
    except CommandError as error:
        say(f"the dataset's page does not show this: {error}", error=True)


def _first(found: Any) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"count": len(found), "first": [_shown(entry) for entry in _worded(found)[:KEPT]]}


def _shown(words: str) -> str:
    """Return words as the API takes them."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)[:LETTERS]


def _worded(found: Any) -> list[str]:
    if isinstance(found, dict):
        return [f"{path}: {why}" for path, why in found.items()]
    return [" = ".join(entry) if isinstance(entry, list) else entry for entry in found]


def _print(report: dict[str, Any]) -> None:
    rows = [
        ("classes", report["classes"]),
        ("clips in the lists", report["clips"]),
        *([("clips left out", report["excluded"])] if report["excluded"] else []),
        ("clips there", report["present"]),
        ("frames", report["frames"]),
        *((name.replace("_", " "), _counted(report[name])) for name in COUNTED),
        *((name, report[name]) for name in ("interlaced", "turned", "mirrored")),
        *((name, "not an official dataset" if report[name] is None else len(report[name])) for name in FINDINGS),
        ("decoder", report["decoder"]),
    ]
    print_table(report["root"], ("what", "found"), rows)
    for name in FINDINGS:
        _print_finding(name, report[name])


def _counted(found: dict[str, int]) -> str:
    return ", ".join(f"{key}: {count}" for key, count in found.items()) or "none"


def _print_finding(name: str, found: Any) -> None:
    if not found:
        return
    words = _worded(found)
    say(f"{name}:")
    for entry in words[:NAMED]:
        say(f"  {entry}")
    if len(words) > NAMED:
        say(f"  and {len(words) - NAMED} more")
