"""A report as a page of Markdown; what users named is shown as it is, and can break out of no cell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&])")
NONE = "none"


def page(report: Json) -> str:
    """Return a report, as JSON has it, as Markdown."""
    experiment = report["experiment"]
    return "\n".join(
        (
            f"# {_text(experiment['name'])}",
            "",
            *_about(report),
            *_section("Repeat it", ("```sh", report["command"], "```")),
            *_section("Results", _table(("stream", "split", "seed", "metrics", "clips"), _results(report))),
            *_section("Protocols", _bullets(_protocols(report))),
            *_section("Flags", _bullets((flag["code"], flag["sentence"]) for flag in experiment["flags"])),
            *_section("Deviations from the paper", _bullets(report["deviations"].items())),
            *_section("Data", _table(("dataset", "revision", "clips", "lists and clips (SHA-256)"), _data(report))),
            *_section("Environments", _bullets(_environments(report))),
            *_section("Stages", _table(("stage", "key", "state", "reused", "waited for data"), _stages(report))),
            *_section("Attempts", _table(ATTEMPT, _attempts(report))),
            *_section("Spec", ("```json", json.dumps(experiment["spec"], indent=1), "```")),
            "",
        )
    )


ATTEMPT = ("stage", "attempt", "state", "seconds", "device", "environment", "memory", "GPU memory", "disk", "worker")


def _about(report: Json) -> Iterator[str]:
    experiment = report["experiment"]
    for name in ("id", "state", "owner", "dataset", "recipe", "created_at", "started_at", "finished_at", "message"):
        if experiment[name] is not None:
            yield f"- {name.removesuffix('_at')}: {_text(experiment[name])}"
    yield f"- code: {_text(report['code_revision'] or 'unknown')}"


def _results(report: Json) -> Iterator[tuple[object, ...]]:
    for result in report["results"]:
        metrics = ", ".join(f"{name} {value['value']:.4f}" for name, value in result["metrics"].items())
        split, seed = ("mean" if result[name] is None else result[name] for name in ("split", "seed"))
        yield result["stream"], split, seed, metrics, result["clips"]


def _protocols(report: Json) -> Iterator[tuple[str, str]]:
    yield from ((entry["stream"], entry["protocol"]) for entry in report["protocols"])
    boxed = [(each["stream"], each["box_protocol"]) for each in report["results"] if each["box_protocol"] is not None]
    yield from ((f"{stream}, boxes", line) for stream, line in dict.fromkeys(boxed))


def _data(report: Json) -> Iterator[tuple[object, ...]]:
    for found in report["manifests"]:
        yield found["dataset"], found["revision"], found["clips"], found["digest"] or "not read yet"


def _environments(report: Json) -> Iterator[tuple[str, str]]:
    for number, found in enumerate(report["environments"]):
        versions = [f"Python {found['python']}", *(f"{name} {value}" for name, value in found["libraries"].items())]
        cuda = f"CUDA {found['cuda']}, driver {found['driver']}" if found["gpus"] else "no GPU"
        where = [f"{found['cpu']}, {found['cores']} cores", found["platform"], *found["gpus"], cuda]
        yield str(number), "; ".join((str(found["code"]), ", ".join(versions), ", ".join(map(str, where))))


def _stages(report: Json) -> Iterator[tuple[object, ...]]:
    for stage in report["stages"]:
        ratio = stage["data_wait_ratio"]
        waited = None if ratio is None else f"{100 * ratio:.1f} %"
        yield stage["name"], stage["key"], stage["state"], "yes" if stage["reused"] else "no", waited


def _attempts(report: Json) -> Iterator[tuple[object, ...]]:
    for stage in report["stages"]:
        for found in stage["attempts"]:
            state = found["state"] if found["cause"] is None else f"{found['state']}: {found['cause']}"
            seconds = None if found["seconds"] is None else f"{found['seconds']:.2f}"
            usage = [_megabytes(found["usage"][name]) for name in ("memory_bytes", "gpu_memory_bytes", "disk_bytes")]
            where = found["device"], found["environment"]
            yield stage["name"], found["number"], state, seconds, *where, *usage, found["worker_id"]


def _megabytes(count: int | None) -> str | None:
    return None if count is None else f"{count / 1e6:.1f} MB"


def _section(title: str, lines: Iterable[str]) -> tuple[str, ...]:
    found = tuple(lines)
    return ("", f"## {title}", "", *(found or (NONE,)))


def _bullets(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, words in entries:
        yield f"- {_text(name)}: {_text(words)}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    cells = [[_text("" if cell is None else cell) for cell in row] for row in rows]
    if cells:
        yield f"| {' | '.join(columns)} |"
        yield f"|{' --- |' * len(columns)}"
    for row in cells:
        yield f"| {' | '.join(row)} |"


def _text(value: object) -> str:
    """Return words in one line without markup."""
    return MARKUP.sub(r"\\\1", " ".join(str(value).split()))
