"""RETRY_STORM: calls that fail, and are tried again at once, hardly any with success."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType
from typing import TYPE_CHECKING, Final

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.history.probe import Failure, Window
from spanloom.diagnosis.history.rules.words import finding, listed, near, times
from spanloom.diagnosis.history.sight import Sight
from spanloom.diagnosis.origin import is_own

if TYPE_CHECKING:
    from spanloom.diagnosis.history.memory import Memory

__all__ = ["storms"]

LEAST_RATE: Final = 20.0
"""Failures a second, of all who try. A polite client tries once a second or less."""
LEAST_RATE_EACH: Final = 2.0
"""The same, of each task that tries."""
LEAST_WINDOWS: Final = 2
"""Windows, one after the other, in which it must have been so.

The first tries of a back-off are quick, too.
"""
MAX_SUCCESS: Final = 0.1
_ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
_ANSWERS: Final = frozenset(
    {
        "QueueEmpty", "QueueFull", "Empty", "Full", "BlockingIOError", "InterruptedError", "KeyError",
        "IndexError", "AttributeError", "LookupError", "FileNotFoundError", "ImportError", "ModuleNotFoundError",
    }
)  # fmt: skip
"""What plain functions raise by way of an answer, to be caught by who called them."""
MAX_AGE_S: Final = 12.0
"""Of the last window: a storm that is over is none."""


def storms(memory: Memory, sights: list[Sight]) -> Iterator[Finding]:
    """Yield a finding for each function that fails and is tried again at a high rate."""
    windows = [window for window in memory.windows if memory.present - window.began < MAX_AGE_S]
    if len(windows) < LEAST_WINDOWS:
        return
    recent = [_by_function(window) for window in windows[-LEAST_WINDOWS:]]
    names = [
        name
        for name in recent[-1]
        if all(name in window and window[name].rate >= LEAST_RATE for window in recent)
    ]
    for name in sorted(names, key=lambda name: -recent[-1][name].rate):
        storm = recent[-1][name]
        if storm.returned > MAX_SUCCESS * (storm.failed + storm.returned):
            continue
        who = [sight for sight in sights if any(step.code in storm.trying for step in sight.chain)]
        if storm.rate < LEAST_RATE_EACH * len(who):
            continue
        yield _finding(storm, who, memory.census.at - windows[0].began)


class _Storm:
    """The failures of one kind in one window."""

    def __init__(self, failure: Failure, window: Window) -> None:
        self.failure = failure
        self.trying: set[CodeType] = set()
        self.failed = 0
        self.returned = window.returned[failure.callee] if failure.callee is not failure.caught else 0
        self._lasted_s = window.lasted_s

    @property
    def rate(self) -> float:
        return self.failed / self._lasted_s


def _by_function(window: Window) -> dict[tuple[str, CodeType], _Storm]:
    found: dict[tuple[str, CodeType], _Storm] = {}
    for failure, count in window.failures.items():
        through = [*failure.raised, failure.caught]
        if not any(is_own(code.co_filename) for code in through) or not _is_call(failure):
            continue
        storm = found.setdefault((failure.error, failure.callee), _Storm(failure, window))
        storm.failed += count
        storm.trying.update(through)
    return found


def _is_call(failure: Failure) -> bool:
    """Tell whether a call has failed that a coroutine made.

    Not: a wait that was given a time limit and has reached it, and an exception that is a way of saying "nothing
        there".
    """
    if not failure.caught.co_flags & _ASYNC:
        return False
    origin = failure.raised[0]
    if failure.error == "TimeoutError" and not is_own(origin.co_filename):
        return False
    awaited = any(code.co_flags & _ASYNC and code is not failure.caught for code in failure.raised)
    return awaited or failure.error not in _ANSWERS


def _finding(storm: _Storm, who: list[Sight], since_s: float) -> Finding:
    failure = storm.failure
    own = [code for code in (*failure.raised, failure.caught) if is_own(code.co_filename)]
    functions = list(dict.fromkeys(bare_name(code.co_qualname) for code in own))
    first = functions[0]
    passed = dict(zip(reversed(failure.raised), reversed(failure.lines), strict=True))
    place = f"{own[0].co_filename}:{passed.get(own[0], failure.caught_line)}"
    tasks = list(dict.fromkeys(sight.name for sight in who))
    by = "" if len(functions) < 2 else f", called by {listed(functions[1:])}"
    tried = "" if not tasks else f" ({len(who)} task{'s' * (len(who) > 1)}: {listed(tasks)})"
    succeeded = (
        "none of them" if not storm.returned else f"{storm.returned} of {storm.failed + storm.returned} calls"
    )
    return finding(
        "RETRY_STORM",
        "LIKELY",
        f"`{first}`{by}, fails with {failure.error} and is tried again about {times(storm.rate)} times a "
        f"second{tried}, "
        f"{succeeded} with success; raised at {near(place)}. Pause longer after each failure, with "
        "exponential back-off and jitter, "
        "and give up after some attempts.",
        jobs=tasks[:20] or [first],
        location=place,
        since_s=since_s,
        evidence=[
            f"{storm.failed} failures and {storm.returned} returns heard; through "
            + " < ".join(bare_name(code.co_qualname) for code in failure.raised)
        ],
    )
