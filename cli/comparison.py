"""Comparisons in words and columns."""

from __future__ import annotations

from typing import Any

from cli.output import percent, print_table
from cli.terminal import say
from services.words import counted

NAMED = 10
"""Clips of each kind that are named; `--json` has more."""


def print_comparison(found: dict[str, Any]) -> None:
    """Print two systems side by side."""
    left, right = found["left"], found["right"]
    say(f"{found['dataset']}, split {found['split']}, {found['stream']}: top-1 accuracy on the same clips")
    rows = [(side, *_of_side(each)) for side, each in (("left", left), ("right", right))]
    print_table("systems", ("", "experiment", "model", "top1#", "std#", "id"), rows)
    say(f"right over left: {_points(found['difference'])}{_between(found)}")
    if found["paired"] is not None:
        _print_paired(found["paired"])
    print_table("what differs", ("field", "left", "right"), [_field(each) for each in found["differs"]], "nothing")
    if found["categories"]:
        print_table("categories", CHANGES, map(_change, found["categories"]))
    print_table("classes that gain most", CHANGES, map(_change, found["gaining"]))
    print_table("classes that lose most", CHANGES, map(_change, found["losing"]))
    if found["overlaps"]:
        print_table("boxes", ("metric", "left#", "right#", "difference#"), map(_overlap, found["overlaps"]))
    if found["seeds"]:
        columns = ("left seed#", "right seed#", "left alone#", "right alone#", "p#")
        print_table("seeds against seeds", columns, map(_pair, found["seeds"]))
    if found["paired"] is not None:
        for side in ("left", "right"):
            _print_lone(side, found["paired"])
    for note in found["notes"]:
        say(note)


CHANGES = ("name", "clips#", "left#", "right#", "difference#")


def print_controlled(found: dict[str, Any]) -> None:
    """Print heads with their gain over a baseline, one a row."""
    title = f"{found['dataset']}, split {found['split']}, {found['stream']}: heads on the same features"
    columns = ("head", "model", "top1#", "std#", "gain#", "95 % interval#", "p#", "p, Holm#", "id")
    name, model, value, spread, id_ = _of_side(found["baseline"])
    rows = [(name, model, value, spread, "baseline", None, None, None, id_)]
    print_table(title, columns, [*rows, *map(_gain, found["gains"])])
    if found["units"] is not None and found["num_units"] > 1:
        say(f"intervals by bootstrap over {found['num_units']} {found['units']}, each of one head by itself")
    for gain in found["gains"]:
        fields = "; ".join(f"{each['field']} {each['left']} -> {each['right']}" for each in gain["differs"])
        say(f"{gain['head']['experiment_id']} differs in: {fields or 'nothing'}")


def _gain(gain: dict[str, Any]) -> tuple[object, ...]:
    name, model, value, spread, id_ = _of_side(gain["head"])
    bounds, test = gain["interval"], gain["test"]
    between = None if bounds is None else " to ".join(f"{100 * bound:+.2f}" for bound in bounds)
    p = None if test is None else f"{test['p']:.2g}"
    adjusted = None if gain["adjusted_p"] is None else f"{gain['adjusted_p']:.2g}"
    return name, model, value, spread, f"{100 * gain['difference']:+.2f}", between, p, adjusted, id_


def _of_side(side: dict[str, Any]) -> tuple[object, ...]:
    name = f"{side['name']} (epoch chosen on the test list)" if side["selected_on_test"] else side["name"]
    spread = None if side["std"] is None else percent(side["std"])
    return name, side["model"], percent(side["value"]), spread, side["experiment_id"]


def _print_paired(paired: dict[str, Any]) -> None:
    test = paired["test"]
    seeds = f"seed {test['left_seed']} and seed {test['right_seed']}"
    alone = f"left alone gets {test['left_only']}, right alone {test['right_only']}"
    say(f"of {counted(paired['clips'], 'clip')} ({seeds}) {alone}")
    say(f"McNemar's exact test, two-sided: p = {test['p']:.3g}")
    shares = [f"{words} {percent(paired[name])}" for name, words in SHARES.items()]
    say("; ".join(shares))


SHARES = {"agreement": "both say the same of", "both_right": "both get", "oracle": "one of them gets"}


def _print_lone(side: str, paired: dict[str, Any]) -> None:
    rows = [(each["clip"], each["label"], each["left"], each["right"]) for each in paired[f"{side}_only"][:NAMED]]
    count = paired["test"][f"{side}_only"]
    title = f"{side} alone gets right, {min(count, NAMED)} of {count}"
    print_table(title, ("clip", "class", "left says", "right says"), rows)


def _between(found: dict[str, Any]) -> str:
    if found["interval"] is None:
        return ""
    lower, upper = (f"{100 * bound:+.2f}" for bound in found["interval"])
    return f", 95 % interval {lower} to {upper} (bootstrap over {found['num_units']} {found['units']})"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f} points"


def _field(each: dict[str, Any]) -> tuple[object, ...]:
    return each["field"], each["left"], each["right"]


def _change(each: dict[str, Any]) -> tuple[object, ...]:
    sides = percent(each["left"]), percent(each["right"])
    return each["name"], each["clips"], *sides, f"{100 * each['difference']:+.2f}"


def _overlap(each: dict[str, Any]) -> tuple[object, ...]:
    return each["metric"], percent(each["left"]), percent(each["right"]), f"{100 * each['difference']:+.2f}"


def _pair(pair: dict[str, Any]) -> tuple[object, ...]:
    return pair["left_seed"], pair["right_seed"], pair["left_only"], pair["right_only"], f"{pair['p']:.3g}"
