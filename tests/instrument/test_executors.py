"""Executors of concurrent.futures: what they run are jobs, in threads and in processes, and runs as it did."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

import spanloom
from spanloom import CallbackManager, current_event
from tests.instrument.conftest import ended, tree

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="of the thread")


@pytest.fixture
def threads(manager: CallbackManager) -> CallbackManager:
    spanloom.instrument("concurrent.futures", "concurrent.futures.process")
    return manager


def double(n: int) -> int:
    return n * 2


def slow(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def broken(n: int) -> None:
    raise KeyError(n)


class Scale:
    """Something that can be called, and has no name."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, n: int) -> int:
        return n * self.factor


class Odd:
    """The same, which does not say in the usual way what it does not have."""

    def __getattr__(self, name: str) -> object:
        raise KeyError(name)

    def __call__(self, n: int) -> int:
        return n


def who() -> str:
    return VAR.get()


def ids(_: object = None) -> tuple[int, int, int, str]:
    event = current_event()
    assert event is not None
    return event.trace_id, event.event_id, os.getpid(), event.name


def test_what_a_pool_runs_in_its_block_is_a_batch(threads: CallbackManager) -> None:
    """Named after the first call, with queue and run time of each, under the event that encloses the block."""
    with threads.as_trace("program"), ThreadPoolExecutor(1) as pool:
        futures = [pool.submit(slow, 0.03) for _ in range(3)]
        assert [future.result() for future in as_completed(futures)] == [0.03] * 3
    assert tree(threads) == ["trace program ok", "  batch slow ok", *["    job slow ok"] * 3]
    jobs = sorted(ended(threads, "job"), key=lambda job: job.job_index or 0)
    assert all(one.end_ns <= other.start_ns for one, other in pairwise(jobs))
    assert all(job.start_ns - (job.queue_ns or 0) <= jobs[1].start_ns for job in jobs)
    assert all((job.duration_ns or 0) > 2e7 for job in jobs)
    (batch,) = ended(threads, "batch")
    assert batch.payload["runner"] == "ThreadPoolExecutor"
    assert batch.counts is not None
    assert (batch.counts.total, batch.counts.ok) == (3, 3)


def test_a_map_is_a_batch(threads: CallbackManager) -> None:
    """Of threads and, also in chunks, of processes; results are in the order of the input."""
    context = multiprocessing.get_context("fork")
    with ThreadPoolExecutor(2) as pool, ProcessPoolExecutor(2, mp_context=context) as processes:
        assert list(pool.map(double, range(4))) == [0, 2, 4, 6]
        assert list(processes.map(double, range(4), chunksize=2)) == [0, 2, 4, 6]
    assert tree(threads) == [
        "batch double ok",
        *["  job double ok"] * 4,
        "batch double ok",
        *["  job double ok"] * 2,
    ]
    assert [batch.payload["runner"] for batch in ended(threads, "batch")] == [
        "ThreadPoolExecutor.map",
        "ProcessPoolExecutor.map",
    ]


def named(**values: int) -> dict[str, int]:
    return values


def test_arguments_may_have_any_name(threads: CallbackManager) -> None:
    """Those that our own calls have, too."""
    context = multiprocessing.get_context("fork")
    for executor in (ThreadPoolExecutor(1), ProcessPoolExecutor(1, mp_context=context)):
        with executor as pool:
            assert pool.submit(named, self=1, args=2, function=3).result() == {
                "self": 1,
                "args": 2,
                "function": 3,
            }


def test_without_a_block_what_overlaps_is_a_batch(threads: CallbackManager) -> None:
    """A pool that lives on has a batch for as long as something is unfinished, each under its own event."""
    pool = ThreadPoolExecutor(2)
    gate = threading.Event()
    with threads.as_trace("one"):
        first = [pool.submit(gate.wait), pool.submit(double, 1)]
        gate.set()
        assert [future.result() for future in first] == [True, 2]
    while threads.in_flight():
        time.sleep(0.001)
    with threads.as_trace("two"):
        pool.submit(double, 2).result()
    pool.shutdown()
    assert tree(threads) == [
        "trace one ok",
        "  batch Event.wait ok",
        "    job Event.wait ok",
        "    job double ok",
        "trace two ok",
        "  batch double ok",
        "    job double ok",
    ]


def test_events_in_a_thread_lie_under_the_job(threads: CallbackManager) -> None:
    """The current event goes into the thread, and nothing else of the context: the rest is the own of the thread."""

    def inside() -> str:
        with threads.event("step", name="inside"):
            return VAR.get()

    VAR.set("of the caller")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside).result() == "of the thread"
        assert pool.submit(VAR.set, "left in the thread").result()
        assert pool.submit(who).result() == "left in the thread"
        assert pool.submit(current_event).result() is not None
    assert tree(threads)[:3] == ["batch inside ok", "  job inside ok", "    step inside ok"]


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_what_is_no_function_fails_as_ever(
    kind: type[ThreadPoolExecutor | ProcessPoolExecutor], threads: CallbackManager
) -> None:
    """It is given to the thread, and is a ``TypeError`` there."""
    nothing: Any = None
    with kind(1) as pool, pytest.raises(TypeError, match="'NoneType' object is not callable"):
        pool.submit(nothing).result()
    assert tree(threads) == []


async def test_run_in_executor_and_to_thread(threads: CallbackManager) -> None:
    """The first is a job like any other; the second carries a context by itself and is asyncio's to show."""
    loop = asyncio.get_running_loop()
    assert await asyncio.gather(*(loop.run_in_executor(None, double, n) for n in range(3))) == [0, 2, 4]
    assert await asyncio.to_thread(double, 4) == 8
    await loop.shutdown_default_executor()
    assert ended(threads, "job") != []
    assert {job.name for job in ended(threads, "job")} == {"double"}
    assert len(ended(threads, "job")) == 3


def test_calls_that_fail_and_calls_that_are_cancelled(threads: CallbackManager) -> None:
    """The exception is the function's own with its own traceback; what is cancelled in the queue has no run time."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        first, failed, cancelled = pool.submit(gate.wait), pool.submit(broken, 1), pool.submit(double, 1)
        assert cancelled.cancel()
        gate.set()
        assert first.result()
        error = failed.exception()
    assert isinstance(error, KeyError)
    pools = ["run", "run"] if sys.version_info >= (3, 14) else ["run"]
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)] == [*pools, "broken"]
    assert tree(threads) == [
        "batch Event.wait ok",
        "  job Event.wait ok",
        "  job broken error",
        "  job double cancelled",
    ]


def raises() -> None:
    raise RuntimeError("initializer")


@pytest.mark.parametrize("kind", ["threads", "fork"])
def test_a_pool_that_breaks_or_is_shut_down(kind: str, threads: CallbackManager) -> None:
    """What it can run no more ends with its error, not cancelled; what it refuses is neither a job nor a batch."""
    context = multiprocessing.get_context("fork")
    pool: Executor = (
        ThreadPoolExecutor(1, initializer=raises)
        if kind == "threads"
        else ProcessPoolExecutor(1, mp_context=context, initializer=raises)
    )
    expected = pool.submit(double, 1).exception()
    assert isinstance(expected, BrokenExecutor)
    with pytest.raises(BrokenExecutor):
        pool.submit(double, 1)
    pool.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(double, 1)
    assert tree(threads) == ["batch double ok", "  job double error"]
    (job,) = ended(threads, "job")
    assert job.error is not None
    assert job.error.type == f"{type(expected).__module__}.{type(expected).__qualname__}"


def start(method: str) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_trace_goes_on_in_another_process(method: str, threads: CallbackManager) -> None:
    """What happens there has the trace id, and the job as its parent."""
    with threads.as_trace("program") as trace, start(method) as pool:
        found = list(pool.map(ids, range(2)))
        submitted = pool.submit(ids).result()
    jobs = {job.event_id: job for job in ended(threads, "job")}
    assert {trace_id for trace_id, *_ in (*found, submitted)} == {trace.trace_id}
    assert {event_id for _, event_id, *_ in (*found, submitted)} == set(jobs)
    assert {pid for *_, pid, _ in found} != {os.getpid()}
    assert {name for *_, name in found} == {"ids"}


def maps_itself(n: int) -> list[str]:
    with ThreadPoolExecutor(1) as pool:
        list(pool.map(double, range(n)))
    recorder = spanloom.get_callback_manager().recorder
    assert recorder is not None
    return [event.type for event in recorder.ended() if event.name == "double"]


def test_a_forked_process_has_batches_of_its_own(threads: CallbackManager) -> None:
    """One that was forked in the middle of a ``map`` does not take its own for a part of that."""
    with start("fork") as pool:
        assert list(pool.map(maps_itself, [2])) == [["job", "job", "batch"]]


def test_processes_have_queue_and_run_times(threads: CallbackManager) -> None:
    """A call runs when there are fewer unfinished ones before it than processes."""
    with start("fork") as pool:
        assert pool.submit(slow, 0).result() == 0  # or the first one would wait for the process to start
        futures = [pool.submit(slow, 0.03) for _ in range(3)]
        assert futures[2].cancel() in (True, False)
        done = [future for future in futures if not future.cancelled()]
        assert [future.result() for future in done] == [0.03] * len(done)
    jobs = sorted(ended(threads, "job"), key=lambda job: job.job_index or 0)
    assert all(one.end_ns <= other.start_ns for one, other in pairwise(jobs[:3]))
    assert (jobs[2].queue_ns or 0) > 2e7
    assert all((job.duration_ns or 0) > 2e7 for job in jobs[1:3])
    assert threads.stats().open == 0


def calls_objects(pool: Executor) -> object:
    objects = Scale(3), partial(Scale(3)), partial(Odd())
    return [pool.submit(each, 5).result() for each in objects], pool.submit(Odd(), 1).result()


def left_by_an_error(pool: Executor) -> object:
    end = pool.shutdown

    def shutdown(wait: bool = True, *, cancel_futures: bool = False) -> None:
        end(wait, cancel_futures=cancel_futures)
        raise OSError("interrupted")

    pool.shutdown = shutdown  # type: ignore[method-assign]  # as a subclass would
    try:
        with pool:
            pool.submit(double, 1)
    except OSError as error:
        del pool.shutdown
        return told(error)
    return None


def programs() -> Iterator[Callable[[Executor], object]]:
    def results(pool: Executor) -> object:
        return [future.result() for future in [pool.submit(double, n) for n in range(5)]]

    def maps(pool: Executor) -> object:
        return list(pool.map(pow, range(4), range(4))), list(pool.map(double, []))

    def fails(pool: Executor) -> object:
        future = pool.submit(broken, 3)
        error = future.exception()
        assert error is not None
        return told(error), told(error.__cause__)

    def fails_in_map(pool: Executor) -> object:
        seen = []
        try:
            seen.extend(pool.map(broken, range(2)))
        except KeyError as error:
            return seen, [frame.name for frame in traceback.extract_tb(error.__traceback__)][1:]
        return seen

    def wrong_arguments(pool: Executor) -> object:
        try:
            pool.submit()  # the function is missing
        except TypeError as error:
            return str(error), [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        return told(pool.submit(double).exception())

    def after_the_end(pool: Executor) -> object:
        pool.shutdown()
        try:
            pool.submit(double, 1)
        except RuntimeError as error:
            return str(error), [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        return None

    def what_cannot_be_pickled(pool: Executor) -> object:
        future: Future[Any] = pool.submit(lambda: 1)
        try:
            return future.result()
        except (pickle.PicklingError, AttributeError) as error:
            return type(error).__name__, str(error).partition(" at 0x")[0]

    yield from (results, maps, fails, fails_in_map, wrong_arguments, left_by_an_error)
    yield from (calls_objects, after_the_end, what_cannot_be_pickled)


def told(error: BaseException | None) -> object:
    if error is None:
        return None
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    return type(error).__name__, str(error), frames


@pytest.mark.parametrize("kind", ["threads", "fork"])
@pytest.mark.parametrize("program", list(programs()), ids=lambda program: program.__name__)
def test_a_program_does_the_same(
    program: Callable[[Executor], object], kind: str, manager: CallbackManager
) -> None:
    """Results, exceptions and their tracebacks, and errors of use are those of the real executors."""

    def run() -> object:
        with ThreadPoolExecutor(2) if kind == "threads" else start("fork") as pool:
            return program(pool)

    expected = run()
    spanloom.instrument("concurrent.futures", "concurrent.futures.process")
    try:
        assert run() == expected
    finally:
        spanloom.uninstrument()
    assert manager.stats().open == 0
