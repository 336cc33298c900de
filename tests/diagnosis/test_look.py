"""What a look must not do to the program: keep anything of it, set off a full collection, take a step for each pair."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from spanloom.diagnosis import look
from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.fixpoint import progress
from spanloom.diagnosis.holders import Holding
from spanloom.diagnosis.model import Actor, Holder, Resource, Snapshot, TaskView, Wait
from spanloom.diagnosis.pace import empty, in_slices
from spanloom.diagnosis.stuck import stuck
from spanloom.diagnosis.waits import Table

KINDS = ("lock", "semaphore", "event", "get", "put", "barrier", "future")


async def beside(call: Callable[[], Any]) -> Any:
    """Call something in a thread of its own, which ends with that."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.001)
    thread.join()
    return found[0]


@pytest.mark.slow
async def test_nothing_of_a_look_is_left_for_the_collector() -> None:
    """When a look has ended, its snapshot and what it knew of the tasks are gone, without a collection."""
    event = asyncio.Event()
    tasks = [asyncio.create_task(event.wait()) for _ in range(50)]
    await beside(stuck)
    gc.collect()
    gc.disable()
    try:
        await beside(stuck)
        looked = (Snapshot, TaskView, Resource, Bytecode, Holding, Table)
        left = [type(one).__name__ for one in gc.get_objects() if type(one) in looked]
    finally:
        gc.enable()
        event.set()
        await asyncio.gather(*tasks)
    assert left == []


def test_a_look_at_few_objects_says_that_it_has_not_seen_all(run_python: Any) -> None:
    """Who could end a wait is then not known, and nothing is called dead; a look with more objects has seen all."""
    out = run_python(  # what else is in this process, after thousands of tests, is no concern of this one
        """
        import asyncio
        from spanloom.diagnosis import look

        async def forever():
            await asyncio.Event().wait()

        async def main():
            task = asyncio.create_task(forever())
            await asyncio.sleep(0)
            for objects in (1, 50_000_000):
                print((await asyncio.to_thread(look, objects=objects)).complete)
            task.cancel()

        asyncio.run(main())
        """
    )
    assert out.split() == ["False", "True"]


def test_who_looks_at_once_takes_the_other_for_alive(run_python: Any) -> None:
    """Each of two calls of ``to_thread(why)`` will end, and so will the wait for both."""
    out = run_python(
        """
        import asyncio
        from spanloom.diagnosis import why

        async def hold(lock):
            async with lock, lock: pass

        async def main():
            task = asyncio.create_task(hold(asyncio.Lock()))
            for _ in range(10):
                for found in await asyncio.gather(asyncio.to_thread(why), asyncio.to_thread(why)):
                    print(*(one.code for one in found))
            task.cancel()

        asyncio.run(main())
        """
    )
    assert out.split("\n") == ["SELF_RELOCK"] * 20 + [""]


def test_what_follows_a_look_in_its_thread_is_still_to_come(run_python: Any) -> None:
    """A thread that asks, and sets the event afterwards, is not passed by because it is the one that asks."""
    out = run_python(
        """
        import asyncio, threading
        from spanloom.diagnosis import why

        def ask(loop, event):
            print(*(one.code for one in why()))
            loop.call_soon_threadsafe(event.set)

        async def main():
            event = asyncio.Event()
            waiting = asyncio.create_task(event.wait())
            await asyncio.sleep(0)
            threading.Thread(target=ask, args=(asyncio.get_running_loop(), event)).start()
            await waiting

        asyncio.run(main())
        """
    )
    assert out == "\n"


@pytest.mark.parametrize("number", [0, 1, 7, 8, 100])
def test_slices_leave_nothing_out(number: int) -> None:
    """Values come in their order and all of them; a dictionary that is emptied is empty."""
    values = dict.fromkeys(range(number))
    assert list(in_slices(values)) == list(range(number))
    empty(values)
    assert values == {}


@pytest.mark.slow
async def test_those_who_could_give_are_one_set_for_all_that_they_could_give() -> None:
    """Where many tasks are asked together, the snapshot has one set of them, and not one for each future."""
    number = 200
    futures = [asyncio.get_running_loop().create_future() for _ in range(number)]

    async def wait(own: int) -> None:
        try:
            await futures[own]
        finally:
            futures[own].cancel()

    tasks = [asyncio.create_task(wait(own)) for own in range(number)]
    await asyncio.sleep(0)
    seen = await beside(look)
    sets = {id(seen.resources[id(one)].actors["future"]) for one in futures}
    assert len(seen.resources) >= number
    assert len(sets) == 1
    for future in futures:
        future.set_result(None)
    await asyncio.gather(*tasks)


# the fixpoint, by its definition ------------------------------------------------------------------------


def simple_progress(snapshot: Snapshot, *, cancels: bool) -> frozenset[int]:
    """Return what `progress` does: add whoever can go on until nobody is added."""
    live: set[int] = set()
    gone: set[int] = set()
    before = -1
    while before != len(live) + len(gone):
        before = len(live) + len(gone)
        live |= {key for key, one in snapshot.actors.items() if not one.needs or live & set(one.needs)}
        for key, task in snapshot.tasks.items():
            wait = task.wait
            if wait is None:
                live.add(key)
                continue
            if task.deadline or (cancels and live & task.cancellers):
                gone.add(key)
            if key in gone:
                live.add(key)
                if wait.kind in {"task", "group"} and wait.cancels:
                    gone |= {one for one in wait.targets if one in snapshot.tasks}
            if can_end(snapshot, wait, live):
                live.add(key)
    return frozenset(live)


def can_end(snapshot: Snapshot, wait: Wait, live: set[int]) -> bool:
    if wait.kind in {"task", "group"}:
        able = [target in live for target in wait.targets]
        return all(able) if wait.needs == "all" else any(able) or not able
    one = snapshot.resources[wait.resource or 0]
    givers = live & one.actors.get(wait.kind, frozenset())
    holders = [holder.task in live for holder in one.holders]
    sure = [holder.task in live for holder in one.holders if holder.sure]
    if wait.kind == "lock":
        return one.used == 0 or (any(sure) if sure else bool(givers) or any(holders))
    if wait.kind == "semaphore":
        return bool(one.free) or bool(givers) or any(holders)
    if wait.kind == "barrier" and one.size is not None and givers <= snapshot.tasks.keys():
        return bool(givers) and len(givers) + len(one.waiters) >= one.size
    return bool(givers)


def any_snapshot(chance: random.Random) -> Snapshot:
    """Return a small program in any state."""
    keys = range(1, chance.randint(2, 9))
    actors = {-1: Actor(-1, "timer", "", tuple(some(chance, keys, 0.2)))}
    waits: dict[int, Wait | None] = {}
    for key in keys:
        targets, needs = tuple(some(chance, keys, 0.3)), chance.choice(("all", "any"))
        group = Wait("group", None, targets, needs, cancels=chance.random() < 0.7)  # type: ignore[arg-type] # one of the two
        waits[key] = chance.choice((group, Wait(chance.choice(KINDS), 100), Wait(chance.choice(KINDS), 101)))
    waits[1] = chance.choice((None, waits[1]))
    resources = {}
    for at in (100, 101):
        waiters = tuple(key for key, wait in waits.items() if wait is not None and wait.resource == at)
        holders = tuple(Holder(key, "", "", chance.random() < 0.5) for key in some(chance, keys, 0.2))
        given = {kind: some(chance, [-1, *keys], 0.2) for kind in KINDS}
        size, used, free = chance.choice((None, 2, 3)), chance.choice((0, 1)), chance.choice((0, 0, 1))
        resources[at] = Resource(at, "", "", "", holders, waiters, size, used, free, actors=given)
    tasks = {
        key: TaskView(
            key, "", "", "", "waiting", 0, (), wait,
            deadline=chance.random() < 0.05,
            cancellers=some(chance, keys, 0.1),
        )
        for key, wait in waits.items()
    }  # fmt: skip
    return Snapshot(0.0, tasks=tasks, resources=resources, actors=actors)


def some(chance: random.Random, keys: Iterable[int], share: float) -> frozenset[int]:
    return frozenset(key for key in keys if chance.random() < share)


@pytest.mark.parametrize("cancels", [False, True])
def test_the_fixpoint_is_that_of_its_definition(cancels: bool) -> None:
    """In 600 random states the same tasks and actors can go on as by adding them one after the other."""
    for seed in range(600):
        snapshot = any_snapshot(random.Random(seed))
        assert progress(snapshot, cancels=cancels) == simple_progress(snapshot, cancels=cancels), seed
