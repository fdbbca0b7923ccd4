"""Predicts clips for the command, which has no torch: ``python -m worker.prediction --model FILE CLIP...``.

It writes one line of JSON for each clip: ``{"clip", "top": [{"class", "probability"}], "scores"}``. What goes wrong
stands in standard error, and exit code 1 says so.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence

from services.errors import TwostreamError
from worker.prediction.predictor import load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="worker.prediction")
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("clips", nargs="+")
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        with load(given.model, device=given.device) as predictor:
            for found in predictor.predict(*given.clips):
                top = [{"class": name, "probability": share} for name, share in found.top(given.top)]
                line = {"clip": str(found.clip), "top": top, "scores": found.scores.tolist()}
                sys.stdout.write(json.dumps(line) + "\n")
    except TwostreamError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
