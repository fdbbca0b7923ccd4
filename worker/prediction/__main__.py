"""Runs a bundle for the command, which has no torch: ``python -m worker.prediction --model FILE CLIP...``.

It writes one line of JSON for each clip: ``{"clip", "top": [{"class", "probability"}], "scores"}``, with ``picture``
where ``--pictures`` asks for some. With ``--programs FOLDER`` it writes the networks as programs instead, for the shape
of the one clip that may be given, and one line: ``{"written": [...], "left_out": {name: why}}``. What goes wrong stands
in standard error, and exit code 1 says so.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from services.errors import TwostreamError
from worker.prediction.exported import SUFFIXES
from worker.prediction.predictor import Predictor, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="worker.prediction")
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--programs", type=Path)
    parser.add_argument("--form", default="torch", choices=SUFFIXES)
    parser.add_argument("clips", nargs="*", type=Path)
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        with load(given.model, device=given.device) as predictor:
            for line in _predicted(predictor, given) if given.programs is None else _exported(predictor, given):
                sys.stdout.write(json.dumps(line) + "\n")
    except (TwostreamError, OSError, ValueError) as error:
        sys.stderr.write(f"{' '.join(_words(error).splitlines())}\n")  # the last line, whatever a file is called
        return 1
    return 0


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _predicted(predictor: Predictor, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    found = predictor.predict(*given.clips)
    pictures: list[Path] = []
    if given.pictures is not None:
        from worker.prediction.pictures import write_pictures  # noqa: PLC0415 - Matplotlib, which few ask for

        pictures = write_pictures(given.pictures, found, given.top)
    for number, each in enumerate(found):
        top = [{"class": name, "probability": share} for name, share in each.top(given.top)]
        line = {"clip": str(each.clip), "top": top, "scores": each.scores.tolist()}
        yield line | ({"picture": str(pictures[number])} if pictures else {})


def _exported(predictor: Predictor, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    clip = given.clips[0] if given.clips else None
    programs = predictor.export(given.programs, clip, given.form)
    yield {"written": [str(path) for path in programs.written], "left_out": programs.left_out}


if __name__ == "__main__":
    sys.exit(main())
