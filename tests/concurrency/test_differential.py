"""The same work: programs give the same results on plain asyncio and on spanloom, whoever listens."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings

from spanloom import CallbackManager, use_callback_manager
from spanloom.concurrency import pace, window
from spanloom.testing import VirtualClockLoop
from tests.concurrency import reference
from tests.concurrency.programs import Program, Run, Spanloom, lockstep_programs, timed_programs
from tests.concurrency.stepped import Listener

# 4 x 3,750 timed programs, of which more than 10,000 differ, and 2,000 lockstep ones, each on every setting; on another
# Python than the oldest, a quarter of the timed ones. The variable can only add to that.
MORE = max(1, int(os.environ.get("SPANLOOM_TEST_PROGRAMS", "1")))
checked = settings(
    derandomize=True,
    print_blob=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

RAISED: list[Callable[[], BaseException]] = [
    lambda: ValueError("handler"),
    lambda: asyncio.CancelledError("handler"),
    lambda: KeyboardInterrupt("handler"),
    lambda: SystemExit("handler"),
    lambda: GeneratorExit("handler"),
    lambda: StopIteration("handler"),
    lambda: StopAsyncIteration("handler"),
    lambda: TimeoutError("handler"),
    lambda: BaseExceptionGroup("handler", [ValueError()]),
]


class Reader:
    """Takes ended events in lists, on its own thread."""

    def __init__(self) -> None:
        self.ended: Counter[int] = Counter()

    def on_events(self, events: Any) -> None:
        self.ended.update(event.event_id for event in events)


class Raiser:
    """Raises anything from any hook, after a random number of calls."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self._calls_left = chance.choice([0, 0, 1, 2, 3, 5, 8, 13])
        self._make = chance.choice(RAISED)
        self.raised = 0

    def _called(self, *args: Any) -> None:
        self._calls_left -= 1
        if self._calls_left < 0:
            self.raised += 1
            raise self._make()

    on_event_start = on_event_end = on_event = start_trace = end_trace = flush = close = _called


@pytest.fixture(autouse=True, scope="module")
def steady() -> Iterator[None]:
    """Take out what depends on the machine: the runners' pauses after 5 ms of real time, and the log."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window, "SLICE_NS", 1 << 62)
        patch.setattr(pace, "SLICE_NS", 1 << 62)
        patch.setattr(logging.getLogger("spanloom.callbacks"), "disabled", True)
        yield


def run_on(program: Program, runners: Any, timeout: Any) -> tuple[Any, list[Any]]:
    run = Run(program, runners, timeout)
    loop = VirtualClockLoop()
    try:
        return loop.run_until_complete(run.main()), run.log
    finally:
        loop.close()


def on_spanloom(program: Program, manager: CallbackManager) -> tuple[Any, list[Any]]:
    with use_callback_manager(manager):
        result = run_on(program, Spanloom, asyncio.timeout)
    assert manager.in_flight() == []
    assert manager.current.get() is None
    assert manager.close(timeout=10)
    return result


def by_moment(log: list[Any]) -> Any:
    """Return the log without the order of what happened at one moment, but each job's own order.

    Nor when an item was pulled that was not started in the end: the fast lane is lazier than the window.
    """
    started = {entry[1] for entry in log if entry[2].startswith("start")}
    log = [entry for entry in log if entry[2] != "pulled" or entry[1] in started]
    return sorted(log), [
        entry for path in sorted({entry[1] for entry in log}) for entry in log if entry[1] == path
    ]


def check_all(program: Program, *, exact_log: bool, number: int) -> None:
    """Run `program` everywhere, and compare."""
    expected, reference_log = run_on(program, reference, reference.timeout)
    plain, log = on_spanloom(program, CallbackManager(recorder=0))
    assert plain == expected
    if exact_log:
        assert log == reference_log
    else:
        assert by_moment(log) == by_moment(reference_log)

    assert on_spanloom(program, CallbackManager()) == (plain, log)
    raiser = Raiser(number)
    assert on_spanloom(program, CallbackManager([raiser])) == (plain, log)
    assert raiser.raised <= 2  # and then it is in quarantine; `close` is called all the same
    listener = Listener()
    reader = Reader() if number % 8 == 0 else Listener()  # a thread each time would take most of the time
    manager = CallbackManager([listener, Raiser(number + 1), reader])
    assert on_spanloom(program, manager) == (plain, log)
    assert listener.started == listener.ended
    assert set(listener.started.values()) <= {1}
    assert reader.ended == listener.ended


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in (1, 2, 3))])
def test_timed_programs_do_the_same_work_as_plain_asyncio(part: int) -> None:
    """Nested runners, failures, time-outs and cancels give what plain asyncio gives, with any handlers."""
    programs: set[str] = set()

    @seed(part)
    @settings(checked, max_examples=3750 * MORE)
    @given(timed_programs())
    def check(program: Program) -> None:
        programs.add(repr(program))
        check_all(program, exact_log=False, number=len(programs))

    check()
    assert len(programs) >= 2600


def test_lockstep_programs_take_the_same_turns_as_plain_asyncio() -> None:
    """Jobs that only yield to the loop are called, cancelled and ended in exactly asyncio's order."""
    programs: set[str] = set()

    @settings(checked, max_examples=2000 * MORE)
    @given(lockstep_programs())
    def check(program: Program) -> None:
        programs.add(repr(program))
        check_all(program, exact_log=program.root.steps[0].isolation == "task", number=len(programs))

    check()
    assert len(programs) >= 1500
