"""A cancel in every turn of the event loop, of the caller and of every job: nothing is left behind."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

import spanloom
from spanloom import CallbackManager, FixedLimiter, RateLimiter, RetryPolicy, use_callback_manager
from spanloom.testing import VirtualClockLoop
from tests.concurrency.stepped import Listener, Turns

variable: ContextVar[str] = ContextVar("variable", default="unset")


class SteppedLoop(VirtualClockLoop):
    """Calls a function at the beginning of one of its turns."""

    def __init__(self, turn: int | None, call: Callable[[], object]) -> None:
        super().__init__()
        self.turns = Turns(self, self._clock.select, turn, call)
        self._clock.select = self.turns.select  # type: ignore[method-assign]  # counts the turns


class Scenario:
    """A pipeline that uses everything, and knows what is alive in it."""

    def __init__(self, isolation: Any) -> None:
        self.isolation = "task" if isolation == "eager" else isolation
        self.entered = 0
        self.left = 0
        self.tasks: dict[str, asyncio.Task[Any] | None] = {}
        self.slots = FixedLimiter(2)
        self.shared = FixedLimiter(2)
        self.rate = RateLimiter(2, 1.0, clock=lambda: asyncio.get_running_loop().time())

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        self.entered += 1
        self.tasks[name] = asyncio.current_task()
        if name != "x":  # which runs in the caller's own task
            variable.set(name)
        try:
            yield
        finally:
            assert variable.get() == (name if name != "x" else "caller")
            self.tasks[name] = None
            self.left += 1

    async def leaf(self, name: str) -> str:
        with self.inside(name):
            async with self.slots:
                await asyncio.sleep(0.3)
            return name

    async def slow_to_leave(self, name: str) -> str:
        with self.inside(name):
            try:
                await asyncio.sleep(0.4)
            finally:
                await asyncio.sleep(0.01)
            return name

    def flaky(self, name: str) -> Callable[[], Coroutine[Any, Any, str]]:
        failures = [ConnectionError("first"), ConnectionError("second")]

        async def call() -> str:
            with self.inside(name):
                await asyncio.sleep(0.05)
                if failures:
                    raise failures.pop()
                return name

        return call

    async def nested(self, name: str) -> list[str]:
        with self.inside(name):
            jobs = [self.leaf(f"{name}.{number}") for number in range(3)]
            return await spanloom.run_jobs(jobs, workers=2, isolation=self.isolation)

    async def names(self, *names: str) -> AsyncIterator[str]:
        for name in names:
            await asyncio.sleep(0.1)
            yield name

    async def main(self) -> list[Any]:
        found: list[Any] = []
        policy = RetryPolicy(attempts=3, base_delay=0.1, jitter=0)
        found.append(await spanloom.gather(self.nested("a"), self.nested("b"), self.slow_to_leave("c")))
        found.append(
            await spanloom.run_jobs(
                [self.flaky("d"), self.flaky("e")],
                workers=1,
                retry=policy,
                timeout=5,
                isolation=self.isolation,
            )
        )
        found.append(await spanloom.async_map(self.leaf, ["f", "g", "h"], limit=self.shared))
        found.append(await spanloom.async_map(self.leaf, self.names("i", "j"), limit=2))
        found.append(await spanloom.async_map(self.leaf, ["k", "l", "m"], limit=self.rate))
        async with spanloom.stream(
            self.slow_to_leave, ["n", "o", "p", "q"], limit=2, isolation=self.isolation
        ) as outcomes:
            async for outcome in outcomes:
                found.append(outcome.value)
                await asyncio.sleep(0.05)
                if outcome.index == 1:
                    break
        found.append(await spanloom.race(self.nested("r"), self.slow_to_leave("s"), self.leaf("t")))
        try:
            async with asyncio.timeout(0.2):
                await spanloom.batch_gather([self.leaf("u"), self.slow_to_leave("v"), self.leaf("w")], 2)
        except TimeoutError:
            found.append("timeout")
        found.append(await spanloom.retry(self.flaky("x"), base_delay=0.1, jitter=0))
        found.append(await spanloom.fill_batch(self.leaf, ["y", "z"], 1))
        return found


class Sweep:
    """One run of the scenario with at most one cancel, and all that must hold after it."""

    def __init__(self, isolation: str, *, turn: int | None = None, victim: str | None = None) -> None:
        self.scenario = Scenario(isolation)
        self.listener = Listener()
        self.manager = CallbackManager([self.listener], deep=True)
        self.complaints: list[Any] = []
        self._victim = victim
        self.victims: list[list[str]] = []
        self.hit = False
        loop = SteppedLoop(turn, self._cancel)
        loop.set_exception_handler(lambda loop, context: self.complaints.append(context))
        if isolation == "eager":
            loop.set_task_factory(asyncio.eager_task_factory)
        run_of_handles = asyncio.Handle._run  # type: ignore[attr-defined]  # private
        try:
            self.task = loop.create_task(self._main())
            self.ended, self.tasks_left = loop.run_until_complete(self._watch())
        finally:
            loop.close()
        self.turns = loop.turns.count
        assert asyncio.Handle._run is run_of_handles  # type: ignore[attr-defined]  # private
        self._check()

    def _cancel(self) -> None:
        task = self.task if self._victim is None else self.scenario.tasks.get(self._victim)
        self.hit = task is not None and not task.done()
        if task is not None:
            task.cancel()

    async def _main(self) -> Any:
        with use_callback_manager(self.manager):
            with self.manager.as_trace("first"):  # from here on the manager's variable is in the context
                pass
            variable.set("caller")
            before = copy_context()
            try:
                return await self.scenario.main()
            finally:
                assert copy_context() == before

    async def _watch(self) -> tuple[str, int]:
        await asyncio.wait([self.task])
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if self.task.cancelled():
            return "cancelled", len(left)
        self.task.result()
        return "returned", len(left)

    def _check(self) -> None:
        assert self.tasks_left == 0
        assert self.complaints == []
        assert self.manager.in_flight() == []
        assert self.listener.started == self.listener.ended
        assert set(self.listener.ended.values()) == {1}
        assert self.scenario.entered == self.scenario.left
        for limiter in (self.scenario.slots, self.scenario.shared):
            assert (limiter.in_use, limiter.waiting) == (0, 0)
        stats = self.manager.stats()
        assert stats.produced == stats.delivered
        assert (stats.open, stats.dropped, stats.pending) == (0, 0, 0)


KINDS = ["task", "context", *(["eager"] if sys.version_info >= (3, 12) else [])]
"""Tasks of their own, the fast lane, and tasks of their own from an eager task factory."""

EXPECTED: list[Any] = [
    [["a.0", "a.1", "a.2"], ["b.0", "b.1", "b.2"], "c"],
    ["d", "e"],
    ["f", "g", "h"],
    ["i", "j"],
    ["k", "l", "m"],
    "n",
    "o",
    "t",
    "timeout",
    "x",
    ["y"],
]


def expected(isolation: str) -> list[Any]:
    """Return the result; eager racers take both slots before "t" asks for one, so "s" is quicker then."""
    return [("s" if isolation == "eager" and found == "t" else found) for found in EXPECTED]


@pytest.mark.parametrize("isolation", KINDS)
def test_the_scenario_itself_leaves_nothing_behind(isolation: str, no_warnings: None) -> None:
    """Without any cancel, early exits, losers of races and time-outs leave nothing behind."""
    sweep = Sweep(isolation)
    assert sweep.ended == "returned"
    assert sweep.task.result() == expected(isolation)
    assert sweep.turns > 100


@pytest.mark.parametrize("isolation", KINDS)
def test_a_cancel_of_the_caller_in_any_turn_leaves_nothing_behind(isolation: str, no_warnings: None) -> None:
    """Whenever the outermost task is cancelled, it ends as cancelled, and everything in it has ended."""
    turns = Sweep(isolation).turns
    for turn in range(1, turns + 1):
        sweep = Sweep(isolation, turn=turn)
        assert sweep.ended == ("cancelled" if sweep.hit else "returned"), turn
    assert not sweep.hit  # the last turn has nothing left to cancel: no turn was missed


@pytest.mark.parametrize("isolation", KINDS)
def test_a_cancel_of_any_job_in_any_turn_leaves_nothing_behind(isolation: str, no_warnings: None) -> None:
    """Whenever a job's own task is cancelled, its batch ends as cancelled, and everything in it has ended."""
    first = Sweep(isolation)
    hits = 0
    for victim in first.scenario.tasks:
        was_hit = False
        for turn in range(1, first.turns + 1):
            sweep = Sweep(isolation, turn=turn, victim=victim)
            hits += sweep.hit
            if was_hit and not sweep.hit:
                break
            was_hit = sweep.hit
            if sweep.hit and sweep.ended == "returned":
                # Who loses a race, is left behind by a stream or runs into a time-out is being cancelled anyway.
                assert victim[0] in "pqrstuvw", (victim, turn)
                assert sweep.task.result() == expected(isolation)
    assert hits > 100
