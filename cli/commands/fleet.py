"""`queue`, `workers` and `worker`."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

import typer

from cli.client import INVALID, Client, CommandError
from cli.output import USED, CursorOption, JsonOption, LimitOption, about, ago, print_more, print_table, used
from cli.target import home, stack_addresses
from cli.terminal import print_json
from services import foreign
from services.cache.sizes import word_bytes
from services.words import counted

QUEUES = ("cpu", "gpu")
DEVICE = re.compile(r"auto|cpu|cuda:\d+")
NEEDED = {"database": "TWOSTREAM_DATABASE_URL", "redis": "TWOSTREAM_REDIS_URL", "mlflow": "TWOSTREAM_MLFLOW_URL"}


def queue(limit: LimitOption = 500, cursor: CursorOption = None, json: JsonOption = False) -> None:
    """List the stages that wait, why each one does, and about when it starts."""
    with Client.connect() as client:
        page = client.page("/queue", limit=limit, cursor=cursor)
    if json:
        print_json(page.items)
        return
    rows = (
        (
            s["position"],
            s["label"],
            about(s["starts_in_seconds"]),
            s["queue"],
            s["priority"],
            s["owner"],
            s["reason"],
        )
        for s in page.items
    )
    columns = ("#", "stage", "starts in#", "queue", "priority#", "owner", "reason")
    print_table("waiting stages", columns, rows)
    print_more("stages", len(page.items), page.total, page.next_cursor, "queue", limit=limit)


def workers(limit: LimitOption = 200, cursor: CursorOption = None, json: JsonOption = False) -> None:
    """List the workers, what their machines do, and what each stage there uses."""
    with Client.connect() as client:
        page = client.page("/workers", limit=limit, cursor=cursor)
    if json:
        print_json(page.items)
        return
    rows = (
        (
            w["host"],
            w["pid"],
            w["state"],
            w["queues"],
            w["devices"],
            w["concurrency"],
            ago(w["last_seen_at"]),
            _machine(w["use"]),
            w["message"],
        )
        for w in page.items
    )
    columns = ("host", "pid#", "state", "queues", "devices", "at once#", "last seen#", "machine", "message")
    print_table("workers", columns, rows)
    work = (
        (w["host"], w["pid"], s["label"], s["owner"], about(s["time_left_seconds"]), *used(s))
        for w in page.items
        for s in w["work"]
    )
    if any(w["work"] for w in page.items):
        print_table("their work", ("host", "pid#", "stage", "owner", "time left#", *USED), work)
    print_more("workers", len(page.items), page.total, page.next_cursor, "workers", limit=limit)


def _machine(use: dict[str, Any] | None) -> str | None:
    """Word what a machine does, whoever uses it."""
    if use is None:
        return None
    words = [f"{100 * use['cpu']:.0f} % of {counted(use['cores'], 'CPU')}"]
    words += [f"{word_bytes(use['memory_bytes'])} of {word_bytes(use['memory_total_bytes'])}"]
    words += [f"{100 * gpu['busy']:.0f} % of {gpu['name']}" for gpu in use["gpus"] if gpu["busy"] is not None]
    return ", ".join(words)


def worker(
    queues: Annotated[str, typer.Option(help="Queues to serve: cpu, gpu or cpu,gpu.")] = "cpu,gpu",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N; auto takes the GPUs that are there.")] = "auto",
    concurrency: Annotated[int | None, typer.Option(min=1, help="Stages that run at once.")] = None,
) -> None:
    """Run a worker on this host until it is stopped.

    Finds its servers by TWOSTREAM_DATABASE_URL, TWOSTREAM_REDIS_URL and TWOSTREAM_MLFLOW_URL, or joins the stack that
    is up in TWOSTREAM_HOME.
    """
    names = tuple(name.strip() for name in queues.split(","))
    if not set(names) <= set(QUEUES):
        raise CommandError(f"--queues: got {queues!r}, allowed: cpu, gpu or cpu,gpu", INVALID)
    from cli.stack.worker import WorkerOptions

    require_device(device)
    options = WorkerOptions(names, device, concurrency)
    found = stack_addresses()
    joined = {variable: found[name] for name, variable in NEEDED.items() if name in found}
    if "database" in found and NEEDED["database"] not in os.environ:
        foreign.forget(foreign.POSTGRES)
    environment = {**joined, **os.environ, **options.env()}
    missing = [variable for variable in list(NEEDED.values())[:2] if not environment.get(variable)]
    if missing:
        raise CommandError(
            f"not set: {', '.join(missing)}; hint: or start a stack in TWOSTREAM_HOME: twostream up", INVALID
        )
    home().make_private()
    program, *arguments = options.argv()
    os.execve(program, [program, *arguments], environment)  # noqa: S606


def require_device(device: str) -> None:
    """Refuse what is no device of a worker."""
    if not DEVICE.fullmatch(device):
        raise CommandError(f"--device: got {device!r}, allowed: auto, cpu or cuda:N", INVALID)
