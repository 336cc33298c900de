"""The live state of a running process, shown below what its record shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from spanloom.handlers._text import format_ns, printable
from spanloom.viewer._layout import WIDTH, Line, fit, table

__all__ = ["ask_live", "live_lines"]

TIMEOUT_S: Final = 3.0
"""Seconds that a process has to answer."""


def ask_live(pid: int) -> dict[str, Any] | None:
    """Return what process `pid` is doing; ``None`` if it is not watched, or does not answer in time."""
    from spanloom.diagnosis.watch.client import ask
    from spanloom.exceptions import NotWatchedError

    try:
        answer: dict[str, Any] = ask(pid, "live", timeout_s=TIMEOUT_S)
    except NotWatchedError:
        return None
    return answer


def live_lines(said: dict[str, Any] | None, width: int = WIDTH) -> Iterator[Line]:
    """Yield the lines that show what `ask_live` has returned, in `width` columns."""
    if said is not None:
        yield from fit(_lines(said, width), width)


def _lines(said: dict[str, Any], width: int) -> Iterator[Line]:
    yield Line("")
    yield Line(f"tasks: {said['tasks']:,}, {said['waiting']:,} waiting")
    for loop in said["loops"]:
        thread = printable(loop["thread"])
        if loop["held_s"] is not None:
            by, at = printable(str(loop["held_by"])), printable(str(loop["held_at"]))
            yield Line(f"event loop ({thread}): BLOCKED for {_time(loop['held_s'])} by {by} at {at}", "bad")
        elif loop["longest_hold_s"]:
            longest = _time(loop["longest_hold_s"])
            yield Line(f"event loop ({thread}): free; longest block in the last 6 s: {longest}")
        else:
            yield Line(f"event loop ({thread}): free")
    if said["resources"]:
        lines = table(
            ("waited for", "in use", "held by", "waiting"),
            _rows(said["resources"]),
            width,
            words=(0, 2, 3),
            flexible=3,
        )
        yield Line("")
        yield Line(lines[0], "dim")
        yield from map(Line, lines[1:])


def _rows(resources: Iterable[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return a row for each resource; those of one kind that have no name and no holder share one."""
    rows: list[tuple[str, ...]] = []
    nameless: dict[str, list[dict[str, Any]]] = {}
    for one in resources:
        kind, name = printable(one["kind"]), printable(one["name"])
        has_name = name.lower() != kind
        if not has_name and not one["holders"] and one["size"] is None:
            nameless.setdefault(kind, []).append(one)
            continue
        used = (
            "" if one["size"] is None else f"{one['used']}/{one['size']}" if one["size"] else f"{one['used']}"
        )
        waiting = _names(one["waiters"], one["waiting"])
        rows.append((f"{kind} {name}" if has_name else kind, used, _names(one["holders"]), waiting))
    for kind, alike in nameless.items():
        waiters = [name for one in alike for name in one["waiters"]]
        what = kind if len(alike) == 1 else f"{len(alike)} × {kind}"
        rows.append((what, "", "", _names(waiters, sum(one["waiting"] for one in alike))))
    return rows


def _names(names: list[str], of: int = 0) -> str:
    """Return the names, each with its count, and how many more there are if they are `of` in all."""
    told = [name if count == 1 else f"{count} × {name}" for name, count in Counter(names).most_common()]
    if of > len(names):
        told.append(f"{of - len(names):,} more")
    return printable(", ".join(told))


def _time(seconds: float) -> str:
    return format_ns(round(seconds * 1e9))
