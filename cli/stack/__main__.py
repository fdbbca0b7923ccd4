"""`python -m cli.stack`: the stack in the foreground until SIGINT or SIGTERM. `twostream up` becomes this process."""

from __future__ import annotations

import argparse
import json
import logging
import sys

from cli.errors import StackError
from cli.stack.home import Home
from cli.stack.signals import Signals, StopRequested
from cli.stack.stack import Stack
from cli.stack.worker import WorkerOptions
from cli.terminal import say, say_text
from services import foreign
from services.errors import InvalidSettings, TwostreamError
from services.proxies import spare_local
from services.settings import load


def main() -> int:
    """Run the stack; return 0 after an orderly stop, 1 when a part failed, 2 when a setting is wrong."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    options = _arguments()
    spare_local()
    signals = Signals()
    signals.install()
    try:
        settings = load()
        if settings.database_url is None:
            foreign.forget(foreign.POSTGRES)
        home = Home(settings.home.expanduser().resolve())
        worker = None if options.no_worker else WorkerOptions(device=options.device, concurrency=options.concurrency)
        report = Report(options.json)
        with home.held():
            return _run(Stack(settings, home, worker, report.say, signals), home, report)
    except InvalidSettings as error:
        say_text(f"twostream: {error}", error=True)
        return 2
    except StackError as error:
        say_text(f"twostream: {error}", error=True)
        return 1


class Report:
    """Lines for the user, written at once also into a pipe; as JSON, one object a line."""

    def __init__(self, json: bool) -> None:
        self._json = json

    def say(self, line: str, **facts: object) -> None:
        """Print one line; facts appear in JSON alone."""
        say(json.dumps({"message": line, **facts}) if self._json else line)


def _run(stack: Stack, home: Home, report: Report) -> int:
    try:
        stack.up()
        report.say(f"twostream is up in {home.path}; Ctrl-C stops it", home=str(home.path), addresses=stack.addresses)
        stack.watch()
    except StopRequested:
        return 0
    except (StackError, TwostreamError) as error:
        say_text(f"twostream: {error}", error=True)
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
