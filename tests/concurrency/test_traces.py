"""Many traces at once on one manager: each is complete, and none holds anything of another."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from spanloom import CallbackManager, async_map, propagate, retry, run_jobs, use_callback_manager
from spanloom.testing import EventCapture, virtual_clock

TRACES = 1000


async def pipeline(manager: CallbackManager, number: int) -> int:
    """Open a trace; in it a batch of three jobs, of which each runs a batch of two with a step and a retry."""
    chance = random.Random(number)
    failures = [ValueError("once")]

    async def flaky() -> None:
        await asyncio.sleep(chance.random())
        if failures:
            raise failures.pop()

    async def inner(index: int) -> int:
        await asyncio.sleep(chance.random())
        with manager.event(name=f"step of {number}").set(number=number):
            await asyncio.sleep(chance.random())
        return index

    async def outer(index: int) -> int:
        await asyncio.sleep(chance.random())
        found = await run_jobs([inner(0), inner(1)], workers=1 + number % 2)
        if index == 2:
            await retry(flaky, base_delay=0.1)
        manager.emit(name=f"mark of {number}")
        return sum(found)

    with manager.as_trace(f"trace {number}") as trace:
        assert await async_map(outer, range(3), limit=2, desc=f"batch of {number}") == [1, 1, 1]
        return trace.trace_id


def shape(tree: dict[int, list[int]], root: int) -> tuple[Any, ...]:
    """Return a tree without its ids: nested tuples, children sorted."""
    return tuple(sorted(shape(tree, child) for child in tree.get(root, [])))


@pytest.fixture(scope="module")
def ran() -> tuple[CallbackManager, EventCapture, list[int]]:
    """Run all pipelines at once."""
    capture = EventCapture()
    manager = CallbackManager([capture])

    async def main() -> list[int]:
        with use_callback_manager(manager):
            return await asyncio.gather(*[pipeline(manager, number) for number in range(TRACES)])

    with virtual_clock() as runner:
        ids = runner.run(main())
    return manager, capture, ids


BATCH_OF_TWO = (((),), ((),))
RETRY = ((), (), ())  # attempt, back-off, attempt
EXPECTED = (
    tuple(sorted([((), BATCH_OF_TWO), ((), BATCH_OF_TWO), tuple(sorted([(), BATCH_OF_TWO, RETRY]))])),
)


def test_a_thousand_traces_at_once_have_complete_maps(ran: Any) -> None:
    """`trace_map` of each concurrent trace has exactly the shape of the one pipeline that made it."""
    manager, capture, ids = ran
    assert len(set(ids)) == TRACES
    roots = {event.trace_id: event.event_id for event in capture.events if event.parent_id is None}
    assert set(roots) == set(ids)
    seen: set[int] = set()
    for trace_id in ids:
        tree = manager.trace_map(trace_id)
        assert shape(tree, roots[trace_id]) == EXPECTED
        members = {roots[trace_id], *(child for children in tree.values() for child in children)}
        assert not members & seen
        seen |= members
    assert len(seen) == len(capture.events) == TRACES * 27


def test_a_thousand_traces_at_once_are_unmixed_for_a_handler(ran: Any) -> None:
    """A tree that a handler builds from parent ids equals the map, and holds the names of one pipeline."""
    manager, capture, ids = ran
    by_trace: dict[int, list[Any]] = defaultdict(list)
    for event in capture.events:
        by_trace[event.trace_id].append(event)
    events = {event.event_id: event for event in capture.events}
    for number, trace_id in enumerate(ids):
        own = by_trace[trace_id]
        tree: dict[int, list[int]] = defaultdict(list)
        for event in sorted(own, key=lambda event: event.start_ns):
            if event.parent_id is not None:
                tree[event.parent_id].append(event.event_id)
        kept = manager.trace_map(trace_id)
        assert {parent: sorted(children) for parent, children in tree.items()} == {
            parent: sorted(children) for parent, children in kept.items()
        }
        names = {event.name for event in own if event.name.endswith(str(number)) or " of " in event.name}
        assert names == {f"trace {number}", f"batch of {number}", f"step of {number}", f"mark of {number}"}
        assert {event.payload["number"] for event in own if event.type == "step"} == {number}
        for event in own:
            parent = events.get(event.parent_id)
            if parent is not None:
                assert parent.start_ns <= event.start_ns <= event.end_ns <= parent.end_ns


def test_a_parent_encloses_its_children_in_order_of_their_ends(ran: Any) -> None:
    """A handler hears of an end only after the ends of all that lies under it."""
    _, capture, _ = ran
    position = {event.event_id: place for place, event in enumerate(capture.events)}
    for event in capture.events:
        if event.parent_id is not None:
            assert position[event.event_id] < position[event.parent_id]


def test_threads_carry_the_trace_only_if_told_to() -> None:
    """`propagate` carries the current event into threads; without it a thread begins a trace of its own."""
    capture = EventCapture()
    manager = CallbackManager([capture])

    def work(name: str) -> None:
        with manager.event(name=name):
            pass

    async def job(index: int) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            asyncio.to_thread(work, f"to_thread {index}"),
            loop.run_in_executor(pool, propagate(lambda: work(f"propagated {index}"))),
            loop.run_in_executor(pool, work, f"bare {index}"),
        )

    async def main() -> None:
        with use_callback_manager(manager):
            await run_jobs([job(index) for index in range(20)], workers=10)

    with ThreadPoolExecutor(4) as pool:
        asyncio.run(main())
    jobs = {event.event_id: event.job_index for event in capture.events if event.type == "job"}
    steps = [event for event in capture.events if event.type == "step"]
    assert len(steps) == 60
    for event in steps:
        kind, number = event.name.split()
        expected = None if kind == "bare" else int(number)
        assert (None if event.parent_id is None else jobs[event.parent_id]) == expected


def test_two_threads_with_a_loop_each_share_a_manager() -> None:
    """Batches on two event loops at once keep their jobs apart on one manager."""
    capture = EventCapture()
    manager = CallbackManager([capture])
    barrier = threading.Barrier(2)

    async def job(index: int) -> int:
        await asyncio.sleep(0)
        return index

    async def main(name: str) -> None:
        barrier.wait(10)
        with use_callback_manager(manager):
            for _ in range(20):
                assert await run_jobs([job(index) for index in range(5)], desc=name) == list(range(5))

    threads = [threading.Thread(target=lambda name=name: asyncio.run(main(name))) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batches = {event.event_id: event for event in capture.events if event.type == "batch"}
    assert sorted(event.name for event in batches.values()) == ["a"] * 20 + ["b"] * 20
    per_batch: dict[int, list[Any]] = defaultdict(list)
    for event in capture.events:
        if event.type == "job":
            assert event.trace_id == batches[event.batch_id].trace_id
            per_batch[event.batch_id].append(event.job_index)
    assert all(sorted(indexes) == list(range(5)) for indexes in per_batch.values())
    assert len(per_batch) == 40
