"""All present findings: from what the watching thread remembers, and from a look at the tasks."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from spanloom.diagnosis.budget import MOST
from spanloom.diagnosis.codes import CODES, in_order
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.settings import looking
from spanloom.diagnosis.stuck import stuck
from spanloom.diagnosis.watch.blocked import blocked
from spanloom.diagnosis.watch.locks import lock_across_await
from spanloom.diagnosis.watch.pipes import at_pipes
from spanloom.diagnosis.watch.pools import exhausted
from spanloom.diagnosis.watch.spin import spinning
from spanloom.diagnosis.watch.sync import own_loop
from spanloom.diagnosis.watch.threads import Threads, see_threads
from spanloom.diagnosis.watch.unexplained import unexplained

if TYPE_CHECKING:
    from spanloom.diagnosis.watch.pulse import Pulse
    from spanloom.diagnosis.watch.watcher import Finder, Watcher

__all__ = ["causes", "findings_now", "held_now"]

SURE_S = 0.5
"""Seconds that a loop's thread must have waited for its own loop to be reported: another thread may end the wait."""

SEVERAL = 3
"""From so many separate findings on tasks of one leaking kind, each task is taken to wait for something of its own."""

_logger = logging.getLogger("spanloom.diagnosis")

_OF_THE_LOOP = frozenset({"LOOP_BLOCKED", "SYNC_WAIT_ON_OWN_LOOP", "THREAD_LOCK_ACROSS_AWAIT"})
_OF_NOBODY = frozenset(
    {
        "QUEUE_NO_PRODUCER",
        "EVENT_NEVER_SET",
        "LOST_NOTIFY",
        "ORPHAN_FUTURE",
        "QUEUE_NO_CONSUMER",
        "BARRIER_SHORT",
    }
)
"""Codes of waits that nobody is left to end."""
_OF_WAITS = frozenset(code.name for code in CODES.values() if code.rank < CODES["CANCEL_SWALLOWED"].rank)
"""Codes that explain why a task does not go on."""


def held_now(watcher: Watcher) -> Iterator[Finding]:
    """Yield the findings on loops that are blocked now; `watcher` may have seen only the last second of them."""
    found = _waiting(watcher)
    yield from found.values()
    for pulse in watcher.running():
        if pulse.thread not in found:
            yield from _of(pulse, watcher, blocked(pulse, time.monotonic(), watcher.look_now))


def causes(found: list[Finding]) -> list[Finding]:
    """Return the findings without mere symptoms of others among them, the cause before what is left of those."""
    return in_order(_causes(found))


def findings_now(watcher: Watcher, objects: int = MOST, by_s: float = math.inf) -> list[Finding]:
    """Return the findings on this process, the cause before its symptoms; empty if it is healthy.

    To be called on the watching thread, or on any that is not a loop's.

    Args:
        watcher: The watcher of the process.
        objects: As `spanloom.diagnosis.look.look` takes it.
        by_s: The monotonic time from which on no further rule is run if anything has been found, as the client does not
            wait for ever: on a slow machine, or beside a program that never rests, each rule may take seconds.
    """
    found: list[Finding] = []
    tasks: Finder = partial(_tasks, objects=objects)
    with looking():
        for rule in (_threads, tasks, *watcher.finders, _unknown):
            is_late = time.monotonic() > by_s
            if (rule is _unknown or is_late) and any(finding.severity != "info" for finding in found):
                break
            try:
                found += rule(watcher)
            except Exception:  # one rule that fails must not cost the verdict of the others
                _logger.debug("a rule of the diagnosis has failed", exc_info=True)
    return causes(found)


def _threads(watcher: Watcher) -> Iterator[Finding]:
    # Loading these modules may have taken seconds on a slow machine, without a look meanwhile.
    watcher.look_now()
    now_s = time.monotonic()
    seen = see_threads(watcher.ident or 0)
    found = dict(_waiting_in(seen, watcher, now_s))
    yield from found.values()
    yield from exhausted(seen)
    piped = list(at_pipes(seen))
    yield from piped
    for pulse in watcher.running():
        if pulse.thread not in found:
            finding = blocked(pulse, now_s, watcher.look_now) or spinning(pulse, watcher.look_now)
            yield from _of(pulse, watcher, finding)


def _of(pulse: Pulse, watcher: Watcher, finding: Finding | None) -> Iterator[Finding]:
    """Yield `finding`, or in its place the finding that the loop waits for itself.

    To get `finding` may have taken a second: such a wait may have been too young before, and be old enough now.
    """
    if finding is not None:
        yield _waiting(watcher).get(pulse.thread, finding)


def _waiting(watcher: Watcher) -> dict[int, Finding]:
    return dict(_waiting_in(see_threads(watcher.ident or 0), watcher, time.monotonic()))


def _waiting_in(seen: Threads, watcher: Watcher, now_s: float) -> Iterator[tuple[int, Finding]]:
    """Yield ``(thread id, finding)`` for the loops' threads that wait for what only their loop can do."""
    for thread in seen.threads.values():
        if thread.loop is None:
            continue
        pulse = watcher.pulses.get(id(thread.loop.loop))
        hold = None if pulse is None else pulse.hold
        if hold is None or hold.lasts_s(now_s) < SURE_S:
            continue
        lasts_s = hold.lasts_s(now_s)
        finding = (
            lock_across_await(
                seen, thread, hold, lasts_s
            )  # first, as it is the cause of a loop that waits for itself
            or own_loop(seen, thread, hold, lasts_s)
        )
        if finding is not None:
            yield thread.ident, finding


def _tasks(watcher: Watcher, *, objects: int) -> list[Finding]:
    return stuck(remembered=watcher.remembered(), objects=objects)


def _unknown(watcher: Watcher) -> Iterable[Finding]:
    return () if watcher.reporter is None else unexplained(watcher.reporter)


def _causes(found: list[Finding]) -> list[Finding]:
    """Leave out the findings that another one explains."""
    if any(finding.code in _OF_THE_LOOP for finding in found):
        found = [
            finding
            for finding in found
            if finding.code not in {"UNKNOWN", "STRAGGLER", "PIPELINE_BOTTLENECK"}
        ]
    # If the task had not swallowed its cancel, it would not wait any more.
    stayed = [finding for finding in found if finding.code == "CANCEL_SWALLOWED"]
    found = [
        one
        for one in found
        if one.code not in _OF_NOBODY or not any(set(one.jobs) <= {stay.jobs[0]} for stay in stayed)
    ]
    # A storm of retries without pauses spins, too; its own finding tells what fails.
    storms = {job for finding in found if finding.code == "RETRY_STORM" for job in finding.jobs}
    found = [one for one in found if one.code != "BUSY_SPIN" or storms.isdisjoint(one.jobs)]
    for leak in [finding for finding in found if finding.code == "TASK_LEAK"]:
        found = _without_each_of(leak, found)
    waits = [finding for finding in found if finding.code in _OF_WAITS and finding.level != "UNKNOWN"]
    return [one for one in found if one.code != "STRAGGLER" or not any(_is_same(one, wait) for wait in waits)]


def _without_each_of(leak: Finding, found: list[Finding]) -> list[Finding]:
    """Leave out findings on single tasks of those that leak; not if they all wait for one thing, which is the cause."""
    kinds = {_kind(name) for name in leak.jobs}
    alone = [one for one in found if one.code in _OF_NOBODY and {_kind(name) for name in one.jobs} <= kinds]
    is_each = len(alone) >= SEVERAL or any(one.resource is None for one in alone)  # of many, told in one
    return [one for one in found if one not in alone] if is_each else found


def _kind(name: str) -> str:
    """Return the name of a task with its numbers replaced."""
    return re.sub(r"\d+", "#", name)


def _is_same(late: Finding, wait: Finding) -> bool:
    """Tell whether a straggler is one of the tasks, or at the place, of the finding on a wait."""
    return late.location == wait.location or not set(late.jobs).isdisjoint(wait.jobs)
