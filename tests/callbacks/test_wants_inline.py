"""`wants_inline`: a handler that takes everything in lists may ask for inline calls on a few types only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from spanloom import run_jobs, use_callback_manager
from spanloom.callbacks import CallbackManager
from spanloom.events.event import Event
from spanloom.events.types import EventType


class Both:
    """Defines every hook on events, and wants inline calls for batches only."""

    wants_inline = frozenset({"batch", "mark"})

    def __init__(self) -> None:
        self.inline: list[str] = []
        self.listed: list[str] = []

    def on_event_start(self, event: Event) -> None:
        self.inline.append(f"start {event.type}")

    def on_event_end(self, event: Event) -> None:
        self.inline.append(f"end {event.type}")

    def on_event(self, event: Event) -> None:
        self.inline.append(f"point {event.type}")

    def on_events(self, events: Sequence[Event]) -> None:
        self.listed += [event.type for event in events]


class InlineOnly(Both):
    """Takes no lists: what it does not want inline, it does not get at all."""

    on_events = None  # type: ignore[assignment]  # as if it were not defined


def run(handler: object) -> CallbackManager:
    manager = CallbackManager([handler])

    async def main() -> None:
        with manager.event("step"):
            manager.emit("mark")
            manager.emit("tool")
            await run_jobs([asyncio.sleep(0) for _ in range(2)])

    with use_callback_manager(manager):
        asyncio.run(main())
    manager.flush()
    return manager


def test_inline_hooks_are_called_for_these_types_only() -> None:
    """Inline calls come for the named types, lists hold everything, and the accounts agree."""
    handler = Both()
    manager = run(handler)
    assert handler.inline == ["point mark", "start batch", "end batch"]
    assert handler.listed == ["mark", "tool", "job", "job", "batch", "step"]
    (stats,) = manager.stats().handlers
    assert (stats.produced, stats.delivered, stats.dropped, stats.pending) == (6, 6, 0, 0)
    manager.close()


def test_without_lists_the_other_types_are_not_produced() -> None:
    """A handler without on_events accounts for the types it is called for, and for nothing else."""
    handler = InlineOnly()
    manager = run(handler)
    assert handler.inline == ["point mark", "start batch", "end batch"]
    (stats,) = manager.stats().handlers
    assert (stats.produced, stats.delivered, stats.dropped, stats.pending) == (2, 2, 0, 0)
    manager.close()


def test_a_job_costs_no_inline_call() -> None:
    """The route of jobs has nobody to tell of starts, so runners make no call for them."""
    manager = CallbackManager([Both()])
    route = manager.route(EventType.JOB)
    assert route.starts == ()
    with manager.event(EventType.BATCH) as batch:
        assert batch.event is not None
        starts, sinks = route.job_hooks(batch.event)
    assert (len(starts), len(sinks)) == (0, 1)
    manager.close()


def test_a_single_string_is_refused() -> None:
    """A set of the letters of a type is never what was meant."""

    class Wrong(Both):
        wants_inline = "batch"  # type: ignore[assignment]  # the mistake under test

    with pytest.raises(TypeError, match=r"Wrong\.wants_inline must be a set"):
        CallbackManager([Wrong()])
