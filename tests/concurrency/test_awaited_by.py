"""asyncio is told who awaits the tasks of a batch, and its own tools show it from Python 3.14 on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from spanloom import FixedLimiter, async_map, batch_gather, gather, race, run_jobs, stream
from spanloom.concurrency import awaited_by

Runner = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def in_stream(work: Callable[[], Awaitable[Any]]) -> None:
    async with stream([work]) as outcomes:
        async for _ in outcomes:
            pass


async def from_async(work: Callable[[], Awaitable[Any]]) -> None:
    async def source() -> Any:
        yield work

    await run_jobs(source())


RUNNERS: dict[str, Runner] = {
    "run_jobs": lambda work: run_jobs([work]),
    "run_jobs, context": lambda work: run_jobs([work], isolation="context"),
    "an async input": from_async,
    "async_map with a limiter": lambda work: async_map(lambda _: work(), [1], limit=FixedLimiter(1)),
    "batch_gather": lambda work: batch_gather([work]),
    "gather": lambda work: gather(work()),
    "race": lambda work: race(work(), asyncio.sleep(60)),
    "stream": in_stream,
}


class Told:
    """What asyncio is told of the tasks that wait for each other."""

    def __init__(self) -> None:
        self.by: dict[asyncio.Task[Any], set[asyncio.Task[Any]]] = {}

    def tell(self, task: asyncio.Task[Any], waiter: asyncio.Task[Any]) -> None:
        assert waiter not in self.by.setdefault(task, set())
        self.by[task].add(waiter)

    def untell(self, task: asyncio.Task[Any], waiter: asyncio.Task[Any]) -> None:
        self.by[task].remove(waiter)

    def leads_to(self, task: asyncio.Task[Any], end: asyncio.Task[Any]) -> bool:
        """Tell whether `end` awaits `task`, or somebody who does."""
        return task is end or any(self.leads_to(waiter, end) for waiter in self.by.get(task, ()))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told()
    monkeypatch.setattr(awaited_by, "TELL", told.tell)
    monkeypatch.setattr(awaited_by, "UNTELL", told.untell)
    return told


def current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("fails", [False, True])
async def test_the_caller_awaits_each_job(told: Told, runner: str, fails: bool) -> None:
    """As long as it runs; and nothing that was told is left when all have ended."""
    caller, seen = current(), []

    async def work() -> None:
        await asyncio.sleep(0)
        seen.append(told.leads_to(current(), caller))
        if fails:
            raise ValueError("mine")

    try:
        await RUNNERS[runner](work)
    except ValueError:
        assert fails
    assert seen == [True]
    await asyncio.sleep(0)  # a worker of the fast lane is taken from the books by a callback
    assert told.by
    assert not any(told.by.values())


def plainly(loop: asyncio.AbstractEventLoop, coro: Any, **given: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coro, loop=loop, **given)


@pytest.mark.parametrize("factory", [plainly, getattr(asyncio, "eager_task_factory", plainly)])
async def test_tasks_of_a_factory_are_told_of(told: Told, factory: Any) -> None:
    """Eager ones, where there are any, once they have suspended: before that, nobody awaits them."""
    caller, seen = current(), []

    async def work() -> None:
        await asyncio.sleep(0)
        seen.append(told.leads_to(current(), caller))

    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        await run_jobs([work, work])
    finally:
        loop.set_task_factory(None)
    assert seen == [True, True]
    assert not any(told.by.values())


async def test_a_cancelled_batch_leaves_nothing(told: Told) -> None:
    """Neither jobs that ran nor one that never started."""

    async def work() -> None:
        await asyncio.sleep(60)

    batch = asyncio.create_task(run_jobs([work, work, work], workers=2))
    await asyncio.sleep(0)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert len(told.by) == 2
    assert not any(told.by.values())


@pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio shows who awaits a task since Python 3.14")
async def test_asyncio_shows_it() -> None:
    """``asyncio.capture_call_graph`` leads from the job to the caller."""
    caller = current()
    chains: list[list[object]] = []

    async def work() -> None:
        await asyncio.sleep(0)
        chain: list[object] = []
        graph = asyncio.capture_call_graph(current())  # type: ignore[attr-defined]  # since 3.14
        while graph.awaited_by:
            (graph,) = graph.awaited_by
            chain.append(graph.future)
        chains.append(chain)

    for runner in RUNNERS.values():
        await runner(work)
    assert [chain[-1] for chain in chains] == [caller] * len(RUNNERS)
