"""`python -m cli.stack`: the stack in the foreground until SIGINT or SIGTERM. `twostream up` becomes this process."""

from __future__ import annotations

import argparse
import json
import logging
import sys

from cli.stack.home import Home
from cli.stack.process import StackError
from cli.stack.signals import Signals, StopRequested
from cli.stack.stack import Stack
from cli.stack.worker import WorkerOptions
from services.errors import InvalidSettings, TwostreamError
from services.settings import load


def main() -> int:
    """Run the stack; return 0 after an orderly stop, 1 when a part failed, 2 when a setting is wrong."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    options = _arguments()
    signals = Signals()
    signals.install()
    try:
        settings = load()
        home = Home(settings.home.expanduser().resolve())
        worker = None if options.no_worker else WorkerOptions(device=options.device, concurrency=options.concurrency)
        report = Report(options.json)
        with home.held():
            return _run(Stack(settings, home, worker, report.say, signals), home, report)
    except InvalidSettings as error:
        print(f"twostream: {error}", file=sys.stderr)
        return 2
    except StackError as error:
        print(f"twostream: {error}", file=sys.stderr)
        return 1


class Report:
    """Lines for the user, written at once also into a pipe; as JSON, one object a line."""

    def __init__(self, json: bool) -> None:
        self._json = json

    def say(self, line: str, **facts: object) -> None:
        """Print one line; facts appear in JSON alone."""
        print(json.dumps({"message": line, **facts}) if self._json else line, flush=True)


def _run(stack: Stack, home: Home, report: Report) -> int:
    try:
        stack.up()
        report.say(f"twostream is up in {home.path}; Ctrl-C stops it", home=str(home.path), addresses=stack.addresses)
        stack.watch()
    except StopRequested:
        return 0
    except (StackError, TwostreamError) as error:
        print(f"twostream: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        stack.down()
        report.say("twostream is down")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cli.stack", description=__doc__)
    parser.add_argument("--no-worker", action="store_true", help="start no worker on this host")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    parser.add_argument("--concurrency", type=int, help="stages that run at once")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
