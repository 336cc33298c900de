"""Waits that nobody is left to end: for queues, events, conditions, barriers, futures, abandoned locks and permits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from spanloom.diagnosis.case import Case, called, in_functions, names, place, quoted, where
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.model import HELD, EndedTask, Resource, TaskView

__all__ = ["idle", "lonely", "unreported"]

_OF_HOLDERS = {"releases it": "it", "gives one back": "one"}
"""What a holder would do, as the sentence has it, and the word for what it took."""
_TOLD = 4
"""Tasks, and functions, that a sentence names, at most."""
_ASKED = 50
"""Possible givers that are checked for waiting for the waiters, at most."""


class _Givers(NamedTuple):
    """Who should have ended a wait.

    Attributes:
        ended: The ended tasks that could have, the failed ones first.
        stuck: Dead tasks that could, but wait themselves.
        past: Other ended tasks that may have had to do with it, judged by names.
        functions: Functions of the program that would, judged by names.
        needed: What the first of `stuck` waits for, if one of the waiters holds it: then they wait in a ring.
    """

    ended: list[EndedTask]
    stuck: list[TaskView]
    past: list[EndedTask]
    functions: list[str]
    needed: Resource | None = None


def lonely(
    case: Case, members: list[TaskView], resource: Resource, kind: str, beside: Sequence[TaskView] = ()
) -> Iterator[Finding]:
    """Yield the finding on `members`, which wait for `resource` in the way `kind`, with nobody alive to end that.

    None if the wait is on purpose (a main task that waits for ever), or if a worker waits at an empty queue without
    harm.

    Args:
        case: The program.
        members: Who waits.
        resource: What for.
        kind: How.
        beside: Others who wait in the same way and place, each for a resource of its own.
    """
    failed = case.failed(resource, kind)
    if not failed and _on_purpose(case, members, kind):
        return
    if kind == "get" and not failed and not (_harmful(case, members) or not case.live):
        return
    telling = _RULES.get(kind)
    if telling is not None:
        keys = {task.key for task in members}
        if beside:
            members = [*members, *beside]
        shown = case.in_own_code(members)
        stuck = _stuck(case, resource, kind, keys)
        needed = None if failed or not stuck else case.resource(stuck[0])
        if needed is not None and keys.isdisjoint(one.task for one in needed.holders):
            needed = None
        givers = _Givers(failed, stuck, case.past(resource, kind), case.functions(resource, kind), needed)
        code, sentence = telling(case, shown, resource, givers)
        advice = _ADVICE[code] if needed is None else _before(needed, resource)
        if beside:
            advice = f"Each waits for one of its own. {advice}"
        at = shown[0].at
        location = at.location if at is not None and at.own else None
        one = None if beside else resource
        yield case.finding(code, f"{sentence} {advice}", members, one, location=location, others=shown)


def _on_purpose(case: Case, members: list[TaskView], kind: str) -> bool:
    """Return whether all of `members` are main tasks, or are meant to wait for ever, while others go on beside them."""
    if kind not in ("event", "future"):
        return False
    inside = {task.key for task in members}
    if not any(key not in inside and _moves(case, key) for key in case.live):
        return False
    return all(task.main or task.deliberate for task in members)


def _moves(case: Case, key: int) -> bool:
    """Return whether a live task or actor shows that the program goes on: a running loop's task, a socket, a thread."""
    task = case.snapshot.tasks.get(key)
    if task is None:
        return case.snapshot.actors[key].kind in ("io", "loop", "thread")
    return case.snapshot.loops[task.loop].thread is not None


def _harmful(case: Case, members: list[TaskView]) -> bool:
    """Return whether one of the tasks at an empty queue is a main task or awaited; else they are idle workers."""
    return any(task.main or case.awaited.get(task.key) for task in members)


def idle(case: Case, members: list[TaskView], resource: Resource, kind: str) -> bool:
    """Return whether tasks at an empty queue are idle workers: no dead task waits for them, and no giver has failed."""
    if kind != "get" or _harmful(case, members) or any(one.error for one in case.failed(resource, kind)):
        return False
    inside = {task.key for task in members}
    return all(inside.issuperset(case.leading_to.get(key, ())) for key in inside)


def unreported(case: Case) -> Iterator[Finding]:
    """Yield the findings on joins of empty queues whose items were taken by live tasks that never report them."""
    for resource in case.snapshot.resources.values():
        able = resource.actors.get("join", frozenset()) - case.dead
        if not resource.between or resource.used or not able <= resource.between:
            continue
        waiting = [case.snapshot.tasks[key] for key in resource.waiters if key in case.snapshot.tasks]
        members = [task for task in waiting if task.kind == "join" and task.key not in case.dead]
        if members:
            code, sentence = _join(case, case.in_own_code(members), resource, _Givers([], [], [], []))
            yield case.finding(code, f"{sentence} {_ADVICE[code]}", members, resource, level="LIKELY")


def _wait(members: list[TaskView]) -> str:
    """Return in words who waits where."""
    return f"{names(members)}{in_functions(members)} {'waits' if len(members) == 1 else 'wait'} at {where(members[0])}"


def _stuck(case: Case, resource: Resource, kind: str, members: set[int]) -> list[TaskView]:
    """Return, by name, the dead givers that are no waiters, and do not wait for the end of a waiter."""
    able = [
        case.snapshot.tasks[key]
        for key in resource.actors.get(kind, ())
        if key in case.dead and key in case.snapshot.tasks and key not in members
    ][:_ASKED]
    return sorted(
        (task for task in able if _could(task, kind) and not case.waits_for_one_of(task.key, members)),
        key=lambda task: task.name,
    )


def _could(task: TaskView, kind: str) -> bool:
    """Return whether a stuck task may be the holder or giver: at its first await it holds nothing yet."""
    return task.at is not None and not (task.began and kind in HELD)


def _fate(givers: _Givers, what: str) -> str:
    """Return in words what became of the givers; `what` is what they would do, as ``"sets it"``."""
    if not givers.ended and givers.stuck:
        many = "which waits itself" if len(givers.stuck) == 1 else "which wait themselves"
        return f"nobody {what} but {names(givers.stuck)}, {many} at {where(givers.stuck[0])}{_for(givers.needed)}"
    if not givers.ended and givers.past:
        return _past(givers.past, what)
    if not givers.ended and givers.functions:
        return (
            f"nobody is left who {what}: nothing that runs leads to {_listed(givers.functions)}, which would"
        )
    if not givers.ended:
        return f"nobody is left who {what}"
    one = givers.ended[0]
    if one.error is None and what in _OF_HOLDERS:
        return _past(givers.ended, what)
    who = f"`{one.name}`" if one.name and not one.name.startswith("Task-") else f"`{one.function}`"
    if one.function and one.function not in who:
        who = f"{who} ({one.function})"
    if what in _OF_HOLDERS:
        return f"{who}, which took {_OF_HOLDERS[what]}, died of {one.error}{_in(one)}"
    if one.error is not None:
        said = f"('{one.message}')" if one.message else ""
        return f"{who}, which should have, died of {one.error}{said}{_in(one)}"
    ended = "was cancelled" if one.cancelled else "has ended"
    return f"{who}, which {what}, {ended}"


def _past(ended: list[EndedTask], what: str) -> str:
    """Return in words what became of ended tasks, of which any may have been the giver."""
    first = ended[0]
    if first.error is not None:
        others = [first]
    else:
        others = [one for one in ended if one.error is None and one.function == first.function]
        if len({one.function for one in ended}) > 1 and what in _OF_HOLDERS:
            others = ended
    named = [f"`{one.name}`" for one in others if one.name and not one.name.startswith("Task-")]
    told = list(dict.fromkeys(named))[:_TOLD]
    functions = dict.fromkeys(
        f"`{one.function}`" for one in others if f"`{one.function}`" not in ("``", *told)
    )
    who = " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)
    of = ", ".join(list(functions)[:_TOLD])
    who = f"{who} ({of})" if who and of else who or of or "a task"
    many = len(others) > 1
    if first.error is not None:
        said = f"('{first.message}')" if first.message else ""
        return f"nobody is left who {what}: {who} died of {first.error}{said}{_in(first)}"
    fate = "were cancelled" if many else "was cancelled"
    if not all(one.cancelled for one in others):
        fate = "have ended" if many else "has ended"
    elif not many and first.location:
        fate = f"{fate} at {place(first.location)}"
    if what in _OF_HOLDERS:
        return f"nobody is left who {what}: {who} may have had {_OF_HOLDERS[what]}, and {fate}"
    return f"nobody is left who {what}: {who}, which may have, {fate}"


def _for(needed: Resource | None) -> str:
    """Return in words what the giver waits for, if a waiter holds that."""
    if needed is None:
        return ""
    return f" for {needed.kind} `{needed.name}`, which has been taken at {place(needed.holders[0].location)}"


def _before(needed: Resource, resource: Resource) -> str:
    """Return the advice for a ring of two different waits."""
    return f"Let go of {needed.kind} `{needed.name}` before waiting for {resource.kind} `{resource.name}`."


def _in(one: EndedTask) -> str:
    """Return in words where an ended task failed; with the function, if that is not its own."""
    return f"{f' in `{one.raised_in}`' if one.raised_in else ''} at {place(one.location)}"


def _listed(names: list[str]) -> str:
    told = [f"`{name}`" for name in dict.fromkeys(names)]
    return ", ".join(told[:_TOLD]) + (f" and {len(told) - _TOLD} more" if len(told) > _TOLD else "")


_Told = tuple[str, str]
"""A code, and the sentence that says what is wrong."""
_ADVICE: Final = {
    "QUEUE_NO_CONSUMER": "Let the reader survive a bad item, or let its failure end the writers as well (TaskGroup).",
    "QUEUE_NO_PRODUCER": (
        "Let the writer say that it is done (a last item, or a shutdown of the queue) also when it fails."
    ),
    "JOIN_WITHOUT_TASK_DONE": "Call task_done() for each item that was taken, best in a `finally`.",
    "EVENT_NEVER_SET": "Set it in a `finally`, or let the failure reach who waits.",
    "LOST_NOTIFY": "Wait with wait_for(predicate), which looks before it waits, and notify_all().",
    "BARRIER_SHORT": "Abort the barrier when a party fails.",
    "ORPHAN_FUTURE": "Set a result or an exception on every path, or wait with a timeout.",
    "LOCK_ABANDONED": "Take it with `async with`, or release it in a `finally`.",
    "PERMIT_LEAK": "Take permits with `async with`, or release them in a `finally`.",
}
"""What to change, by code."""


def _put(_: Case, members: list[TaskView], resource: Resource, givers: _Givers) -> _Told:
    return "QUEUE_NO_CONSUMER", (
        f"{_wait(members)} to put into the full queue "
        f"`{resource.name}` ({resource.used} of {resource.size}), and {_fate(givers, 'takes something out')}."
    )


def _get(_: Case, members: list[TaskView], resource: Resource, givers: _Givers) -> _Told:
    return "QUEUE_NO_PRODUCER", (
        f"{_wait(members)} at the empty queue `{resource.name}`, and {_fate(givers, 'puts something in')}."
    )


def _join(case: Case, members: list[TaskView], resource: Resource, givers: _Givers) -> _Told:
    inside = {task.key for task in members}
    able = [key for key in resource.actors.get("join", ()) if key in case.dead | resource.between]
    others = [
        key for key in dict.fromkeys((*resource.waiters, *sorted(resource.takers))) if key not in inside
    ]
    takers = [case.snapshot.tasks[key] for key in able or others if key in case.snapshot.tasks]
    functions = dict.fromkeys(
        _taking(task, resource) for taker in takers[:_ASKED] for task in _behind(case, taker)
    )
    missing = (resource.unfinished or 0) - (resource.used or 0)
    by = f" by {', '.join(functions)}" if functions else ""
    died = f"; {_fate(givers, 'reports them')}" if givers.ended or (givers.past and not takers) else ""
    queued = f", {resource.used} are still queued" if resource.used else ""
    return "JOIN_WITHOUT_TASK_DONE", (
        f"{_wait(members)} in join() of queue `{resource.name}` for {resource.unfinished} items: "
        f"{missing} were taken out{by} without task_done(){queued}{died}."
    )


def _taking(task: TaskView, resource: Resource) -> str:
    """Return the function of a task; if it is at ``get()`` of the queue, the functions of its await chain."""
    takes = task.wait is not None and task.wait.kind == "get" and task.wait.resource == resource.key
    return (called(task) if takes else "") or f"`{task.function}`"


def _behind(case: Case, task: TaskView) -> list[TaskView]:
    """Return the task; if it runs no code of the program's own, as the inner task of `wait_for`, its waiters."""
    if any(frame.own for frame in task.chain):
        return [task]
    others = case.snapshot.tasks.values()
    return [one for one in others if one.wait is not None and task.key in one.wait.targets] or [task]


def _event(_: Case, members: list[TaskView], resource: Resource, givers: _Givers) -> _Told:
    return "EVENT_NEVER_SET", (
        f"{_wait(members)} for event `{resource.name}`, and {_fate(givers, 'sets it')}."
    )


def _condition(_: Case, members: list[TaskView], resource: Resource, givers: _Givers) -> _Told:
    return "LOST_NOTIFY", (
        f"{_wait(members)} for a notify of condition `{resource.name}`, and {_fate(givers, 'notifies')}: "
        "the notify has passed, went to another waiter, or never comes."
    )


def _barrier(case: Case, members: list[TaskView], resource: Resource, givers: _Givers) -> _Told:
    if not (givers.ended or givers.stuck or givers.past):
        givers = givers._replace(past=case.siblings(members))
    return "BARRIER_SHORT", (
        f"{_wait(members)} at barrier `{resource.name}`: {len(members)} of {resource.size} came, "
        f"and {_fate(givers, 'comes')}."
    )


def _future(_: Case, members: list[TaskView], resource: Resource, givers: _Givers) -> _Told:
    named = quoted(resource)
    return "ORPHAN_FUTURE", (
        f"{_wait(members)} for a future{named} that nothing can resolve any more: "
        f"{_fate(givers, 'knows it')}."
    )


def _lock(_: Case, members: list[TaskView], resource: Resource, givers: _Givers) -> _Told:
    return "LOCK_ABANDONED", (
        f"{_wait(members)} for lock `{resource.name}`, which is taken, and {_fate(givers, 'releases it')}."
    )


def _permits(_: Case, members: list[TaskView], resource: Resource, givers: _Givers) -> _Told:
    of = "" if resource.size is None else f" of {resource.size}"
    return "PERMIT_LEAK", (
        f"{_wait(members)} for a permit of {resource.kind} `{resource.name}`: "
        f"none{of} is free, no task holds one, and {_fate(givers, 'gives one back')}."
    )


_RULES = {
    "put": _put,
    "get": _get,
    "join": _join,
    "event": _event,
    "condition": _condition,
    "barrier": _barrier,
    "future": _future,
    "lock": _lock,
    "semaphore": _permits,
    "limiter": _permits,
}
