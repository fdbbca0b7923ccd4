"""`submit`, `watch`, `cancel`, `retry`, `list`, `show`, `results`, `report` and `logs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.answers import ExperimentDetail
from cli.client import FAILURE, INVALID, Client, CommandError
from cli.names import id_of
from cli.output import (
    CursorOption,
    Id,
    JsonOption,
    about,
    ago,
    interval,
    measured,
    percent,
    print_more,
    print_table,
    stages_done,
)
from cli.terminal import plain, print_json, say, say_text
from cli.trial import print_dry_run
from cli.use import print_use
from services.metrics import PRIMARY, of_boxes, of_scores
from services.words import counted

Json = dict[str, Any]
INDENTED = f"\n{'':9}"
"""Begins the further lines of a value, so that none looks like another value."""


def submit(
    spec: Annotated[
        Path, typer.Argument(metavar="SPEC.yaml", help="The experiment, YAML or JSON; - reads it from standard input.")
    ],
    watch: Annotated[bool, typer.Option("--watch", help="Stay until it has finished.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key submits once, however often it is sent.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and what it may take; queue nothing.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="If the dataset's lists have changed, register it anew first.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Submit an experiment."""
    from cli.spec_file import read_spec

    body = read_spec(spec) | ({"refresh": True} if refresh else {})
    with Client.connect() as client:
        send(client, body, watch=watch, dry_run=dry_run, json=json, idempotency_key=idempotency_key)


def watch(experiment: Id, json: JsonOption = False) -> None:
    """Show an experiment's progress until its end.

    Ctrl-C leaves the experiment running.
    """
    with Client.connect() as client:
        _follow(client, client.experiment(experiment)["id"], json=json)


def cancel(experiment: Id, json: JsonOption = False) -> None:
    """Cancel an experiment.

    Stages that others need go on.
    """
    _change(experiment, "cancel", json=json)


def retry(experiment: Id, json: JsonOption = False) -> None:
    """Run what failed or was cancelled again.

    Finished stages are kept.
    """
    _change(experiment, "retry", json=json)


def listing(
    state: Annotated[str | None, typer.Option(help="Only experiments in this state.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only experiments on this dataset.")] = None,
    search: Annotated[
        str | None, typer.Option(help="Only those with all of these words in name, owner, tags, note and so on.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only those with this tag; may be given again.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Only archived ones, which are left out else.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at the most.")] = 20,
    cursor: CursorOption = None,
    json: JsonOption = False,
) -> None:
    """List experiments, newest first."""
    query = {"state": state, "dataset": dataset, "search": search, "tag": ",".join(tag or ()) or None}
    with Client.connect() as client:
        kept = "only" if archived else None
        page = client.get("/experiments", **query, archived=kept, limit=limit, cursor=cursor)
    if json:
        print_json(page)
        return
    rows = (
        (e["id"], e["name"], e["dataset"], e["state"], _done(e), ago(e["created_at"]), e["tags"]) for e in page["items"]
    )
    print_table("experiments", ("id", "name", "dataset", "state", "stages#", "submitted#", "tags"), rows)
    options = {"state": state, "dataset": dataset, "search": search, "tag": tag, "archived": archived, "limit": limit}
    print_more("experiments", len(page["items"]), page["total"], page["next_cursor"], "list", **options)


def show(
    experiment: Id,
    use: Annotated[bool, typer.Option("--use", help="What each attempt used of its machine.")] = False,
    json: JsonOption = False,
) -> None:
    """Show an experiment and its stages."""
    with Client.connect() as client:
        found = client.experiment(experiment)
        stages = client.get(f"/experiments/{found['id']}/stages")
        uses = client.get(f"/experiments/{found['id']}/use") if use else []
    if json:
        print_json({**found, "stages": stages} | ({"use": uses} if use else {}))
        return
    say(f"{found['id']}  {found['name']}")
    say(f"state    {found['state']}")
    if found["time_left_seconds"]:
        say(f"left     {about(found['time_left_seconds'])}")
    for name in ("recipe", "dataset", "cause", "message", "mlflow_run_id", "reused"):
        if found.get(name):
            say_text(f"{name.replace('_', ' '):8} " + plain(str(found[name])).replace("\n", INDENTED))
    _say_manners(found)
    rows = (
        (s["name"], s["state"], _how_far(s), _when(s), s["attempt"], s["reused"] or None, s["message"]) for s in stages
    )
    print_table("stages", ("stage", "state", "progress#", "time#", "attempt#", "reused", "message"), rows)
    if use:
        print_use(uses)


def _say_manners(found: ExperimentDetail) -> None:
    """Print what people said of an experiment."""
    gone = found["withdrawn"]
    said = {
        "tags": ", ".join(found["tags"]),
        "note": found["note"],
        "archived": "yes" if found["archived"] else "",
        "withdrawn": "" if gone is None else f"by {gone['by']}, {ago(gone['at'])}: {gone['reason']}",
    }
    for name, words in said.items():
        if words:
            say_text(f"{name:8} " + plain(words).replace("\n", INDENTED))


def results(experiment: Id, json: JsonOption = False) -> None:
    """Show what an experiment reached by stream, split and seed, and the means.

    On UCF101 also by coarse category.
    """
    with Client.connect() as client:
        found = client.results(experiment)
    if json:
        print_json(found)
        return
    first, *others = (f"{name}#" for name in of_scores())
    columns = ("stream", "split#", "seed#", first, "95 % interval#", "std#", *others, "clips#", "id#")
    print_table("results", columns, map(_result, found), empty="none yet")
    for line in sorted({_measured_on(result) for result in found} - {""}):
        say(line)
    _print_boxes(found)
    means = [result for result in found if result["seed"] is None and result["categories"]]
    if means:
        categories = sorted({name for result in means for name in result["categories"] or ()})
        rows = (
            (
                result["stream"],
                _split(result),
                *(percent((result["categories"] or {}).get(name)) for name in categories),
            )
            for result in means
        )
        print_table("top1 by category", ("stream", "split#", *(f"{name}#" for name in categories)), rows)


def report(experiment: Id, json: JsonOption = False) -> None:
    """Print what a run leaves, as Markdown.

    Spec, code, environments, hashes of the data, every stage and attempt, results, and the command that repeats it.
    """
    with Client.connect() as client:
        path = f"/experiments/{id_of(client, experiment)}/report"
        print_json(client.get(path)) if json else say_text(client.text(path, format="markdown"))


def logs(
    experiment: Id,
    stage: Annotated[str | None, typer.Option(help="Only this stage, by name or key.")] = None,
    json: JsonOption = False,
) -> None:
    """Print the end of the log of each attempt."""
    with Client.connect() as client:
        experiment = id_of(client, experiment)
        text = client.text(f"/experiments/{experiment}/logs", stage=stage)
    print_json({"id": experiment, "logs": text}) if json else say_text(text)


def _follow(client: Client, experiment: str, *, json: bool) -> None:
    from cli.watch import Watch

    ended = Watch(client, [experiment], quiet=json).run()
    if not json:
        for line in reached(client.results(experiment)):
            say(line)
        say(page_of(client, experiment))
    finish(ended, json=json)


def send(
    client: Client, body: Json, *, watch: bool, dry_run: bool, json: bool, idempotency_key: str | None = None
) -> None:
    """Submit a spec, stay until it has finished where that is asked for, or say what it would do."""
    if dry_run and watch:
        raise CommandError("--watch: got it with --dry-run, allowed: one of the two", INVALID)
    if dry_run:
        found = client.post("/experiments?dry_run=true", body, idempotency_key=idempotency_key)
        print_json(found) if json else print_dry_run(found)
        return
    answer = client.submit(body, idempotency_key=idempotency_key)
    if watch:
        _follow(client, answer["id"], json=json)
    elif json:
        print_json(answer)
    else:
        say(answer["id"])


def page_of(client: Client, experiment: str) -> str:
    """Return the address of an experiment's page."""
    return f"{client.url}/experiments/{experiment}"


def reached(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Word what each stream reached: the mean over splits, or the single splits where there is none."""
    over_seeds = [result for result in found if result["seed"] is None and PRIMARY in result["metrics"]]
    whole = {result["stream"] for result in over_seeds if result["split"] is None}
    for result in over_seeds:
        if result["split"] is None or result["stream"] not in whole:
            split = "mean over splits" if result["split"] is None else _of_split(result)
            yield f"{result['stream']}, {split}: {PRIMARY} {measured(PRIMARY, result['metrics'][PRIMARY]['value'])}"


def finish(experiments: list[dict[str, Any]], *, json: bool) -> None:
    """Print how watched experiments ended; exit with 1 unless all succeeded."""
    if json:
        print_json(experiments[0] if len(experiments) == 1 else experiments)
    if any(experiment["state"] != "succeeded" for experiment in experiments):
        raise typer.Exit(FAILURE)


def _change(experiment: str, verb: str, *, json: bool) -> None:
    with Client.connect() as client:
        answer = client.post(f"/experiments/{id_of(client, experiment)}/{verb}")
    if json:
        print_json(answer)
    else:
        say(f"{answer['id']}  {answer['state']}")


def _result(result: Mapping[str, Any]) -> tuple[object, ...]:
    found, primary = result["metrics"], result["metrics"].get(PRIMARY, {})
    between = interval(PRIMARY, primary.get("confidence_interval"))
    if result["missing_splits"]:
        between = f"needs split {', '.join(map(str, result['missing_splits']))}"
    value, *others = (measured(name, found[name]["value"]) if name in found else None for name in of_scores())
    spread = measured(PRIMARY, primary["std"]) if primary.get("std") is not None else None
    seed = "mean" if result["seed"] is None else result["seed"]
    return result["stream"], _split(result), seed, value, between, spread, *others, result["clips"], result["id"]


MEASURES = {"map": "video mAP", "recall": "recall of boxes"}


def _print_boxes(found: Sequence[Mapping[str, Any]]) -> None:
    """Print what was measured of boxes, a line for each threshold of the intersection over union."""
    boxed = [each for each in found if each["seed"] is None and of_boxes().keys() & each["metrics"].keys()]
    for measure, title in MEASURES.items() if boxed else ():
        metrics = [metric for metric in of_boxes().values() if metric.overlap and metric.overlap.measure == measure]
        rows = (
            (metric.overlap and metric.overlap.iou, *(_of_metric(each, metric.name) for each in boxed))
            for metric in metrics
        )
        columns = (f"{each['stream']}, {_of_split(each)}#" for each in boxed)
        print_table(title, ("IoU#", *columns), rows)
    for line in sorted({each["box_protocol"] for each in boxed}):
        say(f"boxes measured by: {line}")


def _of_split(result: Mapping[str, Any]) -> str:
    return "mean" if result["split"] is None else f"split {result['split']}"


def _of_metric(result: Mapping[str, Any], name: str) -> str | None:
    found = result["metrics"].get(name)
    return None if found is None else measured(name, found["value"])


def _measured_on(result: Mapping[str, Any]) -> str:
    """Say on what a result was measured, where that is not the whole of the dataset as it is now."""
    words = [f"{counted(result['excluded'], 'listed clip')} left out"] if result["excluded"] else []
    words += ["superseded: the dataset has other lists or clips now"] if result["superseded"] else []
    return f"revision {result['revision']} of the dataset, {', '.join(words)}" if words else ""


def _split(result: Mapping[str, Any]) -> object:
    return "mean" if result["split"] is None else result["split"]


def _done(experiment: dict[str, Any]) -> str:
    return f"{stages_done(experiment)}/{experiment['progress']['total']}"


def _when(stage: dict[str, Any]) -> str | None:
    """Word how long a stage may still take, or when it may start."""
    if stage["time_left_seconds"]:
        return f"{about(stage['time_left_seconds'])} left"
    return f"starts in {about(stage['starts_in_seconds'])}" if stage["starts_in_seconds"] else None


def _how_far(stage: dict[str, Any]) -> str | None:
    progress = stage["progress"]
    return f"{progress['done']}/{progress['total']} {progress['unit']}" if progress else None
