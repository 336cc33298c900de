"""What a handler without inline hooks sees of open events: `attached`, `on_tick`, and what it says it has lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from spanloom import async_map, use_callback_manager
from spanloom.callbacks import CallbackManager
from spanloom.callbacks.open_events import FIRST, newest
from spanloom.events import Event, Handler
from spanloom.events.handler import OpenEvents
from tests.callbacks.recorders import stats_of
from tests.callbacks.test_drain import drain_threads, wait_until


class Watcher(Handler):
    """Looks at what is open, at each tick."""

    def __init__(self) -> None:
        self.views: list[OpenEvents] = []
        self.ticks: list[set[str]] = []
        self.ended: list[str] = []

    def attached(self, open_events: OpenEvents) -> None:
        self.views.append(open_events)

    def on_events(self, events: Sequence[Event]) -> None:
        self.ended += [event.name for event in events]

    def on_tick(self) -> None:
        self.ticks.append(
            {event.name for view in self.views for event in view.between(0, time.perf_counter_ns())}
        )


def test_a_handler_is_shown_the_open_events_of_each_manager_it_is_put_into() -> None:
    """`attached` is called once for each manager, before any event."""
    handler = Watcher()
    one = CallbackManager([handler])
    one.set_handlers([handler])
    assert len(handler.views) == 1
    (two := CallbackManager(deep=True)).add_handler(handler)
    assert [view.deep for view in handler.views] == [False, True]
    two.close()


def test_an_open_event_is_seen_although_nothing_ends() -> None:
    """The thread wakes up when an event starts, looks again and again while it is open, and then sleeps."""
    manager = CallbackManager([handler := Watcher()])
    with manager.event(name="open"):
        wait_until(lambda: handler.ticks.count({"open"}) >= 3)
        assert handler.ended == []
    wait_until(lambda: handler.ended == ["open"])
    manager.flush()
    (guard,) = manager._table
    assert guard.drain is not None
    wait_until(lambda: guard.drain._parked)  # type: ignore[union-attr]  # it has one
    ticks = len(handler.ticks)
    time.sleep(0.3)
    assert len(handler.ticks) == ticks
    assert handler.ticks[-1] == set()
    with manager.event(name="again"):
        wait_until(lambda: handler.ticks[-1] == {"again"})
    manager.close()


def test_a_handler_that_does_not_look_is_not_woken_by_a_start() -> None:
    """Without `on_tick` an open event starts no thread."""

    class Lists:
        def on_events(self, events: Sequence[Event]) -> None: ...

    manager = CallbackManager([Lists()])
    before = drain_threads()
    with manager.event(name="open"):
        time.sleep(0.05)
        assert set(drain_threads()) <= set(before)  # those of other tests may end
    manager.close()


async def test_open_jobs_are_seen_in_both_lanes() -> None:
    """Jobs of a batch that started after the handler was added are among the open events."""
    manager = CallbackManager([handler := Watcher()])
    gate = asyncio.Event()

    async def work(_: int) -> None:
        await gate.wait()

    with use_callback_manager(manager):
        for isolation in ("task", "context"):
            handler.ticks.clear()
            gate.clear()
            batch = asyncio.create_task(async_map(work, range(3), limit=3, isolation=isolation, desc="batch"))
            while not handler.ticks or "work" not in handler.ticks[-1]:
                await asyncio.sleep(0.01)
            (view,) = handler.views
            found = [event.name for event in view.between(0, time.perf_counter_ns())]
            assert sorted(found) == ["batch", "work", "work", "work"]
            assert list(view.between(0, 1)) == []
            gate.set()
            await batch
    await manager.aclose()


async def test_a_handler_sees_no_event_whose_end_it_will_not_get() -> None:
    """Neither types that it does not want, nor what was open when it was added, nor jobs of a batch that was."""

    class Picky(Watcher):
        wants = frozenset({"job", "step"})

    manager, gate = CallbackManager(), asyncio.Event()
    with use_callback_manager(manager), manager.event(name="before"):
        batch = asyncio.create_task(async_map(lambda _: gate.wait(), range(2), limit=1))
        await asyncio.sleep(0.01)
        manager.add_handler(handler := Picky())
        with manager.event(name="step"), manager.event("other", name="other"):
            while not handler.ticks:
                await asyncio.sleep(0.01)
        gate.set()
        await batch
    assert set().union(*handler.ticks) <= {"step"}
    assert {"step"} in handler.ticks
    await manager.aclose()


def test_a_tick_that_raises_quarantines_its_handler_and_its_thread_sleeps() -> None:
    """The work does not notice, and nothing is called again."""

    class Failing(Watcher):
        def on_tick(self) -> None:
            super().on_tick()
            raise ValueError("no")

    manager = CallbackManager([handler := Failing()])
    with manager.event(name="open"):
        wait_until(lambda: stats_of(manager, handler).quarantined)
        time.sleep(0.25)
        assert len(handler.ticks) == 1
    manager.close()


def test_what_a_handler_says_it_has_lost_is_dropped_and_not_delivered() -> None:
    """The accounts add up, whatever the handler says."""

    class Losing(Watcher):
        lost: object = 0

    manager = CallbackManager([handler := Losing()])
    for name in "abc":
        manager.emit(name=name)
    manager.flush()
    for lost, (delivered, dropped) in ((0, (3, 0)), (2, (1, 2)), (99, (0, 3)), ("two", (3, 0))):
        handler.lost = lost
        found = stats_of(manager, handler)
        assert (found.produced, found.delivered, found.dropped, found.pending) == (3, delivered, dropped, 0)
        assert handler.views[0].account() == (3, 0)
    manager.close()


def test_a_view_outlives_its_manager() -> None:
    """A handler may keep it for as long as it likes: it then shows nothing."""
    handler = Watcher()
    manager = CallbackManager([handler])
    manager.emit(name="a")
    manager.flush()
    manager.close()
    del manager
    (view,) = handler.views
    assert list(view.between(0, time.perf_counter_ns())) == []
    assert (view.deep, bool(view), view.account()) == (False, False, (1, 0))


@pytest.mark.parametrize("count", [0, 1, FIRST - 1, FIRST, FIRST + 1, 10 * FIRST])
def test_the_newest_of_a_table_are_found_without_looking_at_all(count: int) -> None:
    """All that started at a time or later are there, and few others."""
    table = {number: number for number in range(count)}
    for since_ns in (0, count // 2, count - 1, count + 1):
        found = newest(table, lambda value: value, since_ns)
        wanted = [number for number in range(count) if number >= since_ns]
        assert set(found) >= set(wanted)
        assert len(found) <= max(FIRST, 4 * len(wanted) + 4)
    assert len(newest(table, lambda _: None, 5)) == count


def test_a_table_that_changes_while_it_is_looked_at_is_copied() -> None:
    """What another thread adds or takes in the middle does no harm."""

    class Changing(dict[int, int]):
        def values(self):  # the view itself raises, as one whose dict was changed does
            class Values:
                def __reversed__(self):
                    raise RuntimeError("dictionary changed size during iteration")

            return Values()

    assert newest(Changing({1: 1, 2: 2}), lambda value: value, 0) == [1, 2]
