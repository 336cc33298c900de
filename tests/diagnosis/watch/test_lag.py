"""What has held a loop becomes events."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from spanloom import CallbackManager
from spanloom.diagnosis.watch.frames import Call
from spanloom.diagnosis.watch.pulse import Hold, Pulse, Used
from spanloom.diagnosis.watch.stalls import Reporter


def slow() -> None: ...


def quick() -> None: ...


def hold(function: Any, began_s: float, ended_s: float) -> Hold:
    made = Hold(began_s, None, Used(0.0, 0.0))
    made.function = function.__name__
    made.add((Call(function.__code__, 1, 0),), ended_s, Used(0.0, 0.0))
    made.ended_s = ended_s
    return made


def events(*held: Hold) -> list[tuple[str, Any]]:
    """Return the names of the events that a second with these holds makes, with how long the loop was held."""
    with CallbackManager() as manager:
        reporter = Reporter(list, lambda: [cast("Pulse", SimpleNamespace(held=held))], stall_after_s=None)
        reporter._manager = manager
        reporter(1_000.0)
        return [(event.name, event.payload["held_s"]) for event in manager.recorder.ended()]


def test_short_holds_in_one_place_are_long_together() -> None:
    """A dozen jobs that parse for 0.2 s each hold the loop for as long as a single one that takes all that time."""
    assert events(*(hold(slow, at, at + 0.2) for at in (1.0, 1.2, 1.4))) == [("slow", 0.6)]


def test_the_longest_is_told_first_and_what_is_short_not_at_all() -> None:
    """Once asyncio's own limit for slow callbacks is passed, a hold is seen; one of 0.15 s is no event yet."""
    assert events(hold(quick, 1.0, 1.15), hold(slow, 2.0, 2.5)) == [("slow", 0.5)]
