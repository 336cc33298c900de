"""RETRY_STORM: calls that fail and are tried again at once, with hardly any success."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterable, Iterator
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
"""Failures a second, of all tasks together. A polite client tries once a second or less."""
LEAST_RATE_EACH: Final = 2.0
"""The same, of each task that tries."""
LEAST_FAILURES: Final = 3
"""Failures in each of two windows some time apart: the first tries of a back-off are quick, too."""
MAX_SUCCESS: Final = 0.1
OFTEN: Final = 4
"""Full windows that must have heard it, where none of them has heard enough."""
OFTEN_S: Final = 1.5
"""Between the first and the last of them: clients that pause for longer than that are not in all of them."""
_ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
_ANSWERS: Final = frozenset(
    {
        "QueueEmpty", "QueueFull", "Empty", "Full", "BlockingIOError", "InterruptedError", "KeyError",
        "IndexError", "AttributeError", "LookupError", "FileNotFoundError", "ImportError", "ModuleNotFoundError",
    }
)  # fmt: skip
"""Exceptions that plain functions raise as an answer to their caller."""
MAX_AGE_S: Final = 12.0
"""Age in seconds of the last window, at most: a storm that is over is not reported."""


def storms(memory: Memory, sights: list[Sight]) -> Iterator[Finding]:
    """Yield a finding for each function that fails and is tried again at a high rate."""
    heard = memory.listening.windows
    windows = [window for window in tuple(heard) if memory.present - window.began < MAX_AGE_S]
    loud = _heard_twice([window for window in memory.listening.last_two() if window in windows])
    for storm in sorted(loud or _heard_often(windows), key=lambda storm: -storm.rate):
        who = [sight for sight in sights if any(step.code in storm.trying for step in sight.chain)]
        if storm.certain_rate < LEAST_RATE_EACH * len(who) or _are_patient(who):
            continue
        began = _since(heard) if loud else windows[0].began
        yield _finding(storm, who, memory.census.at - began)


def _heard_twice(windows: list[Window]) -> list[_Storm]:
    """Return the storms that both of two windows have heard, some time apart."""
    if len(windows) < 2:
        return []
    recent, before = map(_by_function, windows)
    return [
        storm
        for key, storm in recent.items()
        if storm.is_one() and (earlier := before.get(key)) is not None and earlier.is_one()
    ]


def _heard_often(windows: list[Window]) -> list[_Storm]:
    """Return the storms that many windows have heard together, of which each was full after a try or two.

    What is tried may be a thousand calls of functions, as a request is: each window hears too little to be sure.

    Args:
        windows: The first one first.
    """
    full = [window for window in windows if window.is_cut]
    if not full or full[-1].began - full[0].began < OFTEN_S:
        return []
    found: dict[tuple[str, CodeType], list[_Storm]] = {}
    for window in full:
        for key, storm in _by_function(window).items():
            found.setdefault(key, []).append(storm)
    together = [_together(storms) for storms in found.values() if len(storms) >= OFTEN]
    lasted_s = sum(window.lasted_s for window in full)
    for storm in together:
        storm.lasted_s = lasted_s  # those that have heard nothing of it were open, too
    return [storm for storm in together if storm.is_one()]


def _are_patient(who: list[Sight]) -> bool:
    """Tell whether most of these tasks pause for so long that they cannot fail at such a rate for long.

    A process that has not been run for a while by a busy machine does at once what was due meanwhile.
    """
    patient = [one for one in who if one.pause is not None and one.pause.delay_s >= 1 / LEAST_RATE_EACH]
    return 2 * len(patient) > len(who)


def is_storm(window: Window) -> bool:
    """Tell whether one window has heard failures that are a storm if another window hears them, too."""
    return any(storm.is_one() for storm in _by_function(window).values())


def may_be_storm(window: Window) -> bool:
    """Tell whether one window was full before it had heard enough of what may be a storm."""
    return window.is_cut and any(
        storm.rate >= LEAST_RATE and storm.fails for storm in _by_function(window).values()
    )


def _since(windows: Iterable[Window]) -> float:
    """Return when the first of those windows began that have heard a storm, up to the last one, without a pause."""
    raging = itertools.takewhile(is_storm, reversed(list(windows)))
    return min(window.began for window in raging)


class _Storm:
    """The failures of one kind in one window, or in several."""

    def __init__(self, failure: Failure, window: Window) -> None:
        self.failure = failure
        self.trying: set[CodeType] = set()
        self.failed = 0
        self.returned = window.returned[failure.callee] if failure.callee is not failure.caught else 0
        self.lasted_s = window.lasted_s
        self.is_cut = window.is_cut

    @property
    def rate(self) -> float:
        """Failures a second."""
        return self.failed / self.lasted_s

    @property
    def certain_rate(self) -> float:
        """The rate that is hardly in doubt.

        A window that was full at once may have been open just when some polite clients failed together: so it counts
        two standard deviations less than it has heard.
        """
        doubt = 2 * math.sqrt(self.failed) if self.is_cut else 0.0
        return max(0.0, self.failed - doubt) / self.lasted_s

    @property
    def fails(self) -> bool:
        """Whether hardly any of the calls has success."""
        return self.returned <= MAX_SUCCESS * (self.failed + self.returned)

    def is_one(self) -> bool:
        """Tell whether it is a storm if it goes on."""
        return self.fails and self.failed >= LEAST_FAILURES and self.certain_rate >= LEAST_RATE


def _together(storms: list[_Storm]) -> _Storm:
    """Return the last of some storms of one kind, with what all of them have heard."""
    *before, last = storms
    for storm in before:
        last.failed += storm.failed
        last.returned += storm.returned
        last.trying |= storm.trying
    return last


def _by_function(window: Window) -> dict[tuple[str, CodeType], _Storm]:
    found: dict[tuple[str, CodeType], _Storm] = {}
    for failure, count in list(window.failures.items()):
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
