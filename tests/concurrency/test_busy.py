"""Deep timing: how long a job held the event loop, whichever loop it is."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvloop

from spanloom import CallbackManager, Event, async_map, run_jobs, use_callback_manager
from spanloom.concurrency import busy
from tests.concurrency.loops import LOOPS, run_on

loops = pytest.mark.parametrize("loop", LOOPS)
lazy_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
isolations = pytest.mark.parametrize("isolation", ["task", "context"])

MS = 1_000_000
PAUSE_S = 0.1
SLACK_NS = 25 * MS
"""More than the steps hold the loop beside what they burn, less than a pause, or than one callback burns."""
TRIES = 20
"""A pause or a callback that is counted wrongly shows on all of them, a machine that stands still on some."""


def burn(wanted_ms: float) -> int:
    """Hold the loop; return for how many nanoseconds."""
    start = time.perf_counter_ns()
    while time.perf_counter_ns() - start < wanted_ms * MS:
        pass
    return time.perf_counter_ns() - start


@contextmanager
def deep() -> Iterator[CallbackManager]:
    manager = CallbackManager(deep=True)
    with use_callback_manager(manager):
        yield manager


def jobs_of(manager: CallbackManager) -> list[Event]:
    assert manager.recorder is not None
    jobs = [event for event in manager.recorder.ended() if event.type == "job"]
    return sorted(jobs, key=lambda job: job.job_index or 0)


def agree(measure: Callable[[], tuple[list[Event], list[int]]]) -> None:
    """Compare the busy times of jobs with what they burned, on one of many tries: others use the machine, too."""
    for _ in range(TRIES):
        jobs, burned = measure()
        beside = [(job.busy_ns or 0) - nanoseconds for job, nanoseconds in zip(jobs, burned, strict=True)]
        assert min(beside) >= 0
        assert all((job.busy_ns or 0) <= (job.duration_ns or 0) for job in jobs)
        if max(beside) < SLACK_NS:
            return
    assert max(beside) < SLACK_NS


def measured(loop: str, *functions: Callable[[], Coroutine[Any, Any, int]], **options: Any) -> None:
    """Run jobs that return what they burned, all at once, and compare with what was measured."""

    def measure() -> tuple[list[Event], list[int]]:
        with deep() as manager:
            burned = run_on(loop, run_jobs(functions, workers=len(functions), **options))
        return jobs_of(manager), burned

    agree(measure)


@isolations
@lazy_loops
def test_busy_time_is_what_a_job_burns_between_its_awaits(loop: str, isolation: Any) -> None:
    """The steps of a job count, its pauses do not, and neither do the steps of the jobs beside it."""

    async def much() -> int:
        burned = burn(30)
        await asyncio.sleep(PAUSE_S)
        burned += burn(30)
        await asyncio.sleep(0)
        return burned + burn(30)

    async def little() -> int:
        await asyncio.sleep(PAUSE_S)
        return burn(5)

    async def nothing() -> int:
        await asyncio.sleep(2 * PAUSE_S)
        return 0

    measured(loop, much, little, nothing, isolation=isolation)


@isolations
@lazy_loops
def test_batches_side_by_side_count_each_step_once(loop: str, isolation: Any) -> None:
    """However many batches of one manager run at once, a job is as busy as what it burns."""

    async def work() -> int:
        burned = burn(40)
        await asyncio.sleep(0)
        return burned + burn(40)

    async def idle() -> int:
        await asyncio.sleep(2 * PAUSE_S)
        return 0

    async def main() -> list[int]:
        batches = (run_jobs([job], workers=1, isolation=isolation) for job in (work, idle, idle))
        return [burned for batch in await asyncio.gather(*batches) for burned in batch]

    def measure() -> tuple[list[Event], list[int]]:
        with deep() as manager:
            burned = run_on(loop, main())
        jobs = sorted(jobs_of(manager), key=lambda job: job.name, reverse=True)
        assert [job.name.rpartition(".")[2] for job in jobs] == ["work", "idle", "idle"]
        return jobs, burned

    agree(measure)


@isolations
@lazy_loops
def test_the_pull_of_an_item_is_not_busy_time(loop: str, isolation: Any) -> None:
    """What a generator burns to make a job counts neither for that job nor for the one before."""

    async def job(_: int) -> int:
        await asyncio.sleep(0)
        return burn(5)

    def slow() -> Iterator[int]:
        for number in range(3):
            burn(60)
            yield number

    def measure() -> tuple[list[Event], list[int]]:
        with deep() as manager:
            burned = run_on(loop, async_map(job, slow(), limit=1, isolation=isolation))
        return jobs_of(manager), burned

    agree(measure)


@lazy_loops
def test_the_tasks_that_a_job_starts_count_for_it(loop: str) -> None:
    """A job is as busy as itself and its children and grandchildren together."""

    async def child(depth: int) -> int:
        await asyncio.sleep(0.01)
        burned = burn(10)
        if depth:
            burned += await asyncio.create_task(child(depth - 1))
        return burned

    async def parent() -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(2)), group.create_task(child(0))]
        await asyncio.sleep(PAUSE_S)
        return sum(task.result() for task in tasks)

    async def idle() -> int:
        await asyncio.sleep(2 * PAUSE_S)
        return 0

    measured(loop, parent, idle)


@lazy_loops
def test_the_callbacks_that_a_job_schedules_count_for_it(loop: str) -> None:
    """Callbacks of every kind count once: at once, by a thread, by the clock, of a future, of a socket."""

    async def job() -> int:
        burned: list[int] = []
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def callback(*_: object) -> None:
            burned.append(burn(30))
            if len(burned) == 7:
                done.set()

        ours, theirs = socket.socketpair()
        ours.setblocking(False)

        def readable() -> None:
            ours.recv(1)
            callback()

        def writable(number: int) -> None:
            loop.remove_writer(ours.fileno())
            callback(number)

        loop.call_soon(callback)
        loop.call_soon_threadsafe(callback, 1)
        loop.call_later(0.001, callback)
        loop.call_at(loop.time() + 0.001, callback, 1, 2)
        future = loop.create_future()
        future.add_done_callback(callback)
        future.set_result(None)
        loop.add_reader(ours.fileno(), readable)
        loop.add_writer(ours.fileno(), writable, 1)
        theirs.send(b"x")
        await done.wait()
        await asyncio.sleep(PAUSE_S)
        loop.remove_reader(ours.fileno())
        ours.close()
        theirs.close()
        assert len(burned) == 7
        return sum(burned)

    async def idle() -> int:
        await asyncio.sleep(2 * PAUSE_S)
        return 0

    measured(loop, job, idle)


@loops
def test_a_job_that_fails_or_is_cancelled_was_busy_too(loop: str) -> None:
    """However a job ends, and if its first step was an eager one, what it burned is known."""
    burned: list[int] = []

    def measure() -> tuple[list[Event], list[int]]:
        burned.clear()
        with deep() as manager:
            run_on(loop, async_map(fail, range(1), on_error="skip"))
            run_on(loop, async_map(cut, range(1), timeout=0.01, on_error="skip"))
        jobs = jobs_of(manager)
        assert [job.status for job in jobs] == ["error", "timeout"]
        return jobs, burned

    async def fail(number: int) -> None:
        await asyncio.sleep(0)
        burned.append(burn(10))
        raise ValueError(number)

    async def cut(number: int) -> None:
        burned.append(burn(10))
        await asyncio.sleep(5)

    agree(measure)


@lazy_loops
def test_the_clock_is_taken_away_with_the_last_batch(loop: str) -> None:
    """Of two batches that overlap on one loop, the longer one is measured to its end; then all is as it was."""

    def clocks() -> list[object]:
        names = ("call_soon", "call_soon_threadsafe", "call_later", "call_at", "add_reader", "add_writer")
        inside = vars(asyncio.get_running_loop())
        return [asyncio.Handle.__dict__["_run"], *(inside.get(name) for name in names)]

    async def short() -> int:
        return 0

    async def long() -> int:
        await asyncio.sleep(PAUSE_S)
        return burn(20)

    async def main() -> list[int]:
        before = clocks()
        running = asyncio.create_task(run_jobs([long]))
        await asyncio.sleep(0)
        await run_jobs([short])
        assert clocks() != before
        burned = await running
        assert clocks() == before
        return burned

    def measure() -> tuple[list[Event], list[int]]:
        with deep() as manager:
            burned = run_on(loop, main())
        return [job for job in jobs_of(manager) if job.name == "long"], burned

    agree(measure)
    assert busy._clocks == {}


@lazy_loops
def test_names_and_stacks_are_those_of_the_job(loop: str) -> None:
    """What a suspended job awaits and where its error came from shows anything but the clock."""
    chain: list[str] = []

    async def job() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(
            lambda: asyncio.ensure_future(look())
        )  # which looks before any timer can end the sleep
        await asyncio.sleep(0.01)
        raise ValueError

    async def look() -> None:
        (task,) = (task for task in asyncio.all_tasks() if task.get_name().endswith("job"))
        step: Any = task.get_coro()
        while hasattr(step, "cr_await"):
            chain.append(step.__qualname__.rpartition(".")[2])
            step = step.cr_await

    async def main() -> list[Any]:
        return await run_jobs([job], on_error="return")

    with deep():
        (error,) = run_on(loop, main())
    assert chain == ["run_job", "job", "sleep"]
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    assert busy.__file__ not in files


def test_a_loop_refuses_what_it_always_refuses() -> None:
    """The error of a callback reaches the loop's handler, and wrong arguments raise what they raised."""
    seen: list[BaseException] = []

    async def job() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: seen.append(context["exception"]))
        loop.call_soon(burn, "nonsense")
        with pytest.raises(TypeError):
            loop.call_later(0)
        with pytest.raises(TypeError):
            loop.call_soon()
        await asyncio.sleep(0.01)

    async def main() -> None:
        await run_jobs([job])

    with deep(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    assert [type(error) for error in seen] == [TypeError]


def test_what_others_put_on_a_loop_stays_there() -> None:
    """A replaced method of the loop is there again afterwards, and one that was replaced meanwhile still works."""
    calls: list[str] = []

    def around(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return method(*args, **kwargs)

        return call

    async def job() -> int:
        loop: Any = asyncio.get_running_loop()
        loop.call_later = around("inside", loop.call_later)
        await asyncio.sleep(0.01)
        return burn(30)

    async def main() -> list[int]:
        loop: Any = asyncio.get_running_loop()
        loop.call_soon = mine = around("outside", loop.call_soon)
        burned = await run_jobs([job])
        assert loop.call_soon is mine
        await asyncio.sleep(0.01)
        return burned + await run_jobs([job])  # what is left of the first clock must not count once more

    def measure() -> tuple[list[Event], list[int]]:
        with deep() as manager, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            burned = runner.run(main())
        return jobs_of(manager), burned

    agree(measure)
    assert {"inside", "outside"} <= set(calls)


def test_what_others_put_on_the_handles_of_all_loops_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tools do that log slow callbacks: put there while a batch runs, it goes on, and nothing counts twice."""
    plain: Any = asyncio.Handle.__dict__["_run"]
    monkeypatch.setattr(asyncio.Handle, "_run", plain)  # which it is again after the test
    calls: list[object] = []

    async def job() -> int:
        run: Any = asyncio.Handle.__dict__["_run"]

        def around(handle: Any) -> None:
            calls.append(handle)
            run(handle)

        if not calls:
            setattr(asyncio.Handle, "_run", around)  # noqa: B010 -- it has no public name
        await asyncio.sleep(0.01)
        return burn(30)

    async def main() -> list[int]:
        burned = await run_jobs([job])
        theirs = asyncio.Handle.__dict__["_run"]
        assert theirs is not plain
        burned += await run_jobs([job])  # what is left of the first clock must not count once more
        assert asyncio.Handle.__dict__["_run"] is theirs
        before = len(calls)
        await asyncio.sleep(0.01)
        assert len(calls) > before
        return burned

    def measure() -> tuple[list[Event], list[int]]:
        with deep() as manager:
            burned = asyncio.run(main())
        return jobs_of(manager), burned

    agree(measure)


def test_a_loop_that_takes_no_clock_is_told_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a loop cannot be changed, busy times stay None, and one warning per process says so."""

    class Sealed(uvloop.Loop):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    async def job() -> int:
        return burn(1)

    monkeypatch.setattr(busy, "_warned", False)
    with deep() as manager, asyncio.Runner(loop_factory=Sealed) as runner:
        for _ in range(2):
            runner.run(run_jobs([job]))
    assert [job.busy_ns for job in jobs_of(manager)] == [None, None]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "busy times are not measured" in record.getMessage()
