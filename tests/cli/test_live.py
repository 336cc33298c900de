"""What ``spanloom top`` makes of what a process says of itself."""

from __future__ import annotations

from typing import Any

from spanloom.cli._live import live_lines


def resource(kind: str, name: str, waiters: list[str], waiting: int, **more: Any) -> dict[str, Any]:
    nobody: dict[str, Any] = {"size": None, "used": None, "holders": []}
    return nobody | {"kind": kind, "name": name, "waiters": waiters, "waiting": waiting} | more


def lines(*resources: dict[str, Any], **loop: Any) -> list[str]:
    free = {"thread": "MainThread", "longest_hold_s": 0.0, "held_s": None, "held_by": None, "held_at": None}
    said = {"tasks": 60, "waiting": 55, "loops": [free | loop], "resources": list(resources)}
    return [line.text for line in live_lines(said, 80)]


def test_who_waits_for_what_is_a_table_with_each_name_once() -> None:
    """A name has its number before it, and who is not listed is counted."""
    slots = resource("semaphore", "slots", ["crawl"] * 8, 49, size=5, used=5, holders=["crawl"] * 5)
    jobs = resource("queue", "jobs", ["worker", "worker", "main"], 3, size=8, used=8)
    assert lines(slots, jobs) == [
        "",
        "tasks: 60, 55 waiting",
        "event loop (MainThread): free",
        "",
        "waited for       in use  held by    waiting",
        "semaphore slots     5/5  5 × crawl  8 × crawl, 41 more",
        "queue jobs          8/8             2 × worker, main",
    ]


def test_events_without_a_name_are_one_line() -> None:
    """A client has one for each request that waits for a connection."""
    events = [resource("event", "Event", ["fetch"], 1) for _ in range(19)]
    assert lines(*events)[-2:] == ["waited for  waiting", "19 × event  19 × fetch"]


def test_the_loop_is_free_or_was_or_is_blocked() -> None:
    """With for how long, and who blocks it."""
    assert (
        lines(longest_hold_s=0.262)[2]
        == "event loop (MainThread): free; longest block in the last 6 s: 262 ms"
    )
    held = lines(held_s=2.0, held_by="task first", held_at="store.py:9")[2]
    assert held == "event loop (MainThread): BLOCKED for 2.00 s by task first at store.py:9"


def test_a_process_that_does_not_answer_has_no_lines() -> None:
    """It may not be watched."""
    assert list(live_lines(None)) == []


def test_a_queue_without_a_bound_is_not_of_nothing() -> None:
    """How many items it has, and no "of 0"."""
    assert lines(resource("queue", "jobs", ["main"], 1, size=0, used=15))[-1] == "queue jobs      15  main"
