"""LOST_EXCEPTION and TASK_COLLECTED: what asyncio has reported once, and nobody reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.history.complaints import Lost
from spanloom.diagnosis.history.rules.words import finding, near
from spanloom.diagnosis.history.sight import Sight

if TYPE_CHECKING:
    from spanloom.diagnosis.history.memory import Memory

__all__ = ["lost_tasks"]


def lost_tasks(memory: Memory, _: list[Sight]) -> Iterator[Finding]:
    """Yield one finding for each kind of loss."""
    groups: dict[tuple[object, ...], list[Lost]] = {}
    for lost in tuple(memory.complaints.lost):
        groups.setdefault((lost.error, lost.function, lost.location), []).append(lost)
    for group in groups.values():
        yield _lost_exception(group) if group[0].error is not None else _collected(memory, group)


def _who(group: list[Lost]) -> tuple[str, list[str]]:
    """Return the words for the tasks of a group, and their names."""
    names = list(dict.fromkeys(_label(lost) for lost in group))
    first = group[0]
    what = f"task `{names[0]}`"
    if first.function and first.function != names[0]:
        what += f" (`{first.function}`)"
    if len(group) > 1:
        what += f" and {len(group) - 1} more like it"
    return what, names[:20]


def _label(lost: Lost) -> str:
    plain = lost.name.startswith("Task-") and lost.name[5:].isdecimal()
    return lost.function if plain or not lost.name else lost.name


def _lost_exception(group: list[Lost]) -> Finding:
    lost = group[0]
    who, names = _who(group)
    said = f"{lost.error}({lost.message!r})" if lost.message else lost.error
    inside = f" in `{lost.inside}`" if lost.inside and lost.inside != lost.function else ""
    return finding(
        "LOST_EXCEPTION",
        "PROVEN",
        f"{who} failed with {said}, raised at {near(lost.location)}{inside}, and nobody can ever learn of "
        "it: the task is "
        "gone, and its exception was never asked for. Await the task, keep it in a TaskGroup, or give it "
        "a done callback "
        "that looks at `task.exception()`.",
        jobs=names,
        location=lost.location,
        since_s=time.monotonic() - lost.at,
        evidence=[f"{_label(one)}: {one.error} at {one.location}" for one in group[:10]],
    )


def _collected(memory: Memory, group: list[Lost]) -> Finding:
    lost = group[0]
    who, names = _who(group)
    made = None if lost.code is None else memory.sites.main_site(lost.code)
    made_words = "" if made is None else f" It was made at {near(made)}."
    return finding(
        "TASK_COLLECTED",
        "PROVEN",
        f"{who} was garbage-collected in the middle of its work, while it waited at {near(lost.location)}: "
        "nothing referred "
        f"to it, for a loop keeps only weak references to its tasks.{made_words} Keep a reference until it "
        "is done: await it, "
        "use a TaskGroup, or put it into a set and discard it in a done callback.",
        jobs=names,
        location=made or lost.location,
        since_s=time.monotonic() - lost.at,
        evidence=[f"{_label(one)} waited at {one.location}" for one in group[:10]],
    )
