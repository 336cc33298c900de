"""ORPHAN_FUTURE for waits for a task whose loop no thread runs, and nobody is left to run."""

from __future__ import annotations

from collections.abc import Iterator

from spanloom.diagnosis.case import Case, in_functions, names, quoted, where
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.model import Resource

__all__ = ["stopped"]

_THREADS = frozenset({"thread", "pool"})


def stopped(case: Case, loop: Resource) -> Iterator[Finding]:
    """Yield the finding on tasks of other loops, and threads, that wait for tasks of `loop`; nothing if none does."""
    inside = dict.fromkeys(loop.waiters)
    awaited = [key for key in inside if any(task.key not in inside for task in case.awaited.get(key, ()))]
    outside = {
        task.key: task for key in awaited for task in case.awaited[key] if task.key not in inside
    }.values()
    threads = [
        actor
        for actor in case.snapshot.actors.values()
        if actor.kind in _THREADS and not inside.keys().isdisjoint(actor.needs)
    ]
    if not outside and not threads:
        return
    shown = case.in_own_code(outside)
    missed = dict.fromkeys([*awaited, *(key for actor in threads for key in actor.needs if key in inside)])
    tasks = [case.snapshot.tasks[key] for key in missed]
    who = f"{names(shown)}{in_functions(shown)}" if shown else ""
    by_thread = " and ".join(dict.fromkeys(f"thread `{actor.what}`" for actor in threads))
    at = f" at {where(shown[0])}" if shown else ""
    message = (
        f"{' and '.join(one for one in (who, by_thread) if one)} {_waits(len(shown) + len(threads))}{at} for "
        f"{names(tasks)}, whose event loop{quoted(loop)} nobody runs, and nobody is left who would. Let the tasks of "
        f"a loop end, or cancel them there and wait for that, before it is stopped."
    )
    members = shown or tasks
    yield case.finding(
        "ORPHAN_FUTURE",
        message,
        members,
        loop,
        level=case.level([*members, *tasks], [loop]),
        others=[*outside, *tasks],
    )


def _waits(count: int) -> str:
    return "waits" if count == 1 else "wait"
