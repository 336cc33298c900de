"""anyio on asyncio: task groups are batches, their tasks jobs, and nothing else changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

import anyio
import anyio._backends._asyncio as backend
import anyio.abc
import pytest

from spanloom import current_event, get_callback_manager, in_flight, instrument, uninstrument
from spanloom.testing import EventCapture
from tests.instrument.targets.observing import observe, seen_from_inside
from tests.instrument.targets.patching import patched


@pytest.fixture(params=[["anyio"], ["asyncio", "anyio"]], ids="+".join)
def captured(request: pytest.FixtureRequest) -> Iterator[EventCapture]:
    """The events while anyio is patched, alone and with asyncio."""
    with patched(*request.param) as captured:
        yield captured


async def visit(number: int) -> int:
    await anyio.sleep(0)
    if number < 0:
        raise ValueError(number)
    return number


def jobs(captured: EventCapture) -> list[Any]:
    return sorted((event for event in captured.events if event.type == "job"), key=lambda job: job.start_ns)


async def test_a_task_group_is_a_batch(captured: EventCapture) -> None:
    """Each task is a job, under the event that the group was entered in, and of its own name."""

    async def other() -> None:
        await visit(0)

    with get_callback_manager().event(name="outer"):
        async with anyio.create_task_group() as group:
            group.start_soon(visit, 1)
            group.start_soon(visit, 2)
            group.start_soon(other)
            assert current_event() is not None
            assert current_event().name == "outer"
    assert captured.tree() == (
        "step outer ok\n  batch visit ok\n    job visit #0 ok\n    job visit #1 ok\n    job other #2 ok"
    )
    (batch,) = (event for event in captured.events if event.type == "batch")
    assert dict(batch.payload) == {"runner": "anyio.TaskGroup", "limit": None}
    assert batch.counts is not None
    assert (batch.counts.total, batch.counts.ok) == (3, 3)


async def test_a_group_without_tasks_is_no_batch(captured: EventCapture) -> None:
    """A group that is used as a cancel scope only makes no event."""
    async with anyio.create_task_group():
        await anyio.sleep(0)
    assert captured.started == []


async def test_events_of_a_task_stand_under_its_job(captured: EventCapture) -> None:
    """What a task does is its own job's, also while the tasks of the group take turns."""

    async def work(number: int) -> None:
        for _ in range(3):
            await anyio.sleep(0)
            with get_callback_manager().event(name=f"part of {number}"):
                await anyio.sleep(0)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(work, number)
    by_id = {job.event_id: job for job in jobs(captured)}
    parts = [event for event in captured.events if event.type == "step"]
    assert len(parts) == 60
    assert all(event.name == f"part of {by_id[event.parent_id].job_index}" for event in parts)


async def test_a_failure_cancels_the_others(captured: EventCapture) -> None:
    """The job that fails has its error, the others are cancelled, and the batch has failed."""
    with pytest.raises(ExceptionGroup) as raised:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 100)
            group.start_soon(visit, -1)
    assert [type(error) for error in raised.value.exceptions] == [ValueError]
    lines = captured.tree().splitlines()
    assert lines[0].startswith("batch sleep error ")
    assert lines[1:] == [
        "  job sleep #0 cancelled asyncio.exceptions.CancelledError",
        "  job visit #1 error ValueError",
    ]


async def test_a_group_that_is_cancelled_is_not_a_failure(captured: EventCapture) -> None:
    """Jobs of a cancelled scope are cancelled, also one that never began, and the batch has ended well."""
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 100)
        await anyio.sleep(0)
        group.start_soon(anyio.sleep, 100)
        group.cancel_scope.cancel()
    cancelled = "cancelled asyncio.exceptions.CancelledError"
    assert captured.tree() == f"batch sleep ok\n  job sleep #0 {cancelled}\n  job sleep #1 {cancelled}"


async def test_a_limiter_is_queue_time_of_the_jobs_that_wait_for_it(captured: EventCapture) -> None:
    """A job that begins with a wait for a limiter or a semaphore is queued until it has its slot."""
    for limiter in (anyio.CapacityLimiter(2), anyio.Semaphore(2)):
        gate = anyio.Event()

        async def work(limiter: Any = limiter, gate: anyio.Event = gate) -> None:
            async with limiter:
                await gate.wait()

        captured.events.clear()
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(work)
            await anyio.wait_all_tasks_blocked()
            assert [event.job_index for event in in_flight() if event.type == "job"] == [0, 1]
            opened_ns = time.perf_counter_ns()
            gate.set()
        assert [job.start_ns > opened_ns for job in jobs(captured)] == [False, False, True, True]
        assert {job.start_ns - job.queue_ns < opened_ns for job in jobs(captured)} == {True}
    assert {event.type for event in captured.events} == {"batch", "job"}


async def test_a_later_wait_is_an_event(captured: EventCapture) -> None:
    """A wait in the middle of a job is an event of its own, named for what it waits for; a free slot is none."""
    limiter = anyio.CapacityLimiter(1)

    async def work() -> None:
        await anyio.sleep(0)
        async with limiter:
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        group.start_soon(work)
    waits = [
        (event.job_index, event.name, dict(event.payload))
        for event in captured.events
        if event.type == "slot_wait"
    ]
    assert waits == [(1, "CapacityLimiter", {"limiter": "CapacityLimiter"})]


async def test_functions_of_anyio_are_batches(captured: EventCapture) -> None:
    """``gather``, ``amap`` and ``as_completed`` are batches of what they are given."""
    assert await anyio.gather(visit(1), visit(2)) == (1, 2)
    assert await anyio.amap(visit, [1, 2]) == [1, 2]
    async with anyio.as_completed(visit(1), visit(2)) as results:
        assert {handle.return_value async for handle in results} == {1, 2}
    assert captured.tree() == "\n".join(["batch visit ok\n  job visit #0 ok\n  job visit #1 ok"] * 3)
    runners = [event.payload["runner"] for event in captured.events if event.type == "batch"]
    assert runners == ["anyio.gather", "anyio.amap", "anyio.as_completed"]


async def test_a_service_that_is_started_is_a_job(captured: EventCapture) -> None:
    """``start`` makes a job as well, and returns what the task has reported."""

    async def serve(*, task_status: anyio.abc.TaskStatus[int]) -> None:
        task_status.started(7)
        await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        assert await group.start(serve) == 7
    assert captured.tree() == "batch serve ok\n  job serve #0 ok"


async def test_a_task_may_start_tasks_at_the_end_of_its_group(captured: EventCapture) -> None:
    """A job that is started while the group waits for its jobs belongs to the batch."""

    async def first() -> None:
        await anyio.sleep(0.001)
        group.start_soon(visit, 1)

    async with anyio.create_task_group() as group:
        group.start_soon(first)
    assert captured.tree() == "batch first ok\n  job first #0 ok\n  job visit #1 ok"


async def test_what_anyio_does_itself_is_no_batch(captured: EventCapture) -> None:
    """The group that a connection to a name with two addresses is made by is part of something else."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server, await anyio.connect_tcp("localhost", server.sockets[0].getsockname()[1]):
        pass
    assert [event for event in captured.started if event.type in ("batch", "job")] == []


async def test_a_group_may_be_entered_by_a_stack(captured: EventCapture) -> None:
    """A group that an exit stack enters is that of whom the stack is of: the program's, or anyio's own."""

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.send(b"hello")

    async with contextlib.AsyncExitStack() as stack:
        group = await stack.enter_async_context(anyio.create_task_group())
        listeners = await anyio.create_tcp_listener(local_host="127.0.0.1")
        group.start_soon(listeners.serve, handle)
        address = listeners.extra(anyio.abc.SocketAttribute.local_address)
        async with await anyio.connect_tcp(*address) as stream:
            assert await stream.receive() == b"hello"
        group.cancel_scope.cancel()
    await listeners.aclose()
    assert [str(event.type) for event in captured.started if event.type in ("batch", "job")] == [
        "batch",
        "job",
    ]


async def run_groups() -> list[Any]:
    """Return what programs of all kinds can see of themselves."""

    async def inside(number: int) -> Any:
        await anyio.sleep(0)
        seen.append((number, *seen_from_inside()))
        return number

    async def group() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(inside, 1)
            group.start_soon(inside, 2, name="mine")

    async def failing() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 100)
            group.start_soon(visit, -1)

    async def failing_block() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(inside, 3)
            raise KeyError("mine")

    async def timed_out() -> None:
        with anyio.fail_after(0.001):
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 100)

    async def limited() -> list[int]:
        semaphore, order = anyio.Semaphore(1), []

        async def work(number: int) -> None:
            async with semaphore:
                order.append(number)
                await anyio.sleep(0)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(work, number)
        return order

    seen: list[Any] = []
    functions = (group, failing, failing_block, timed_out, limited)
    return [*[await observe(function) for function in functions], seen]


async def test_programs_see_no_difference(captured: EventCapture) -> None:
    """Results, errors with their tracebacks, order, and names and stacks of tasks are those of anyio alone."""
    with_events = await run_groups()
    assert captured.started
    assert captured.open == []
    uninstrument()
    assert await run_groups() == with_events


async def test_a_group_that_is_open_when_patching_ends(captured: EventCapture) -> None:
    """A batch that is under way when its library is not patched any more ends with its jobs."""
    async with anyio.create_task_group() as group:
        group.start_soon(visit, 1)
        uninstrument("anyio")
        group.start_soon(visit, 2)
    assert captured.tree() == "batch visit ok\n  job visit #0 ok"
    assert type(backend.TaskGroup.__dict__["_spawn"]) is types.FunctionType
    assert type(backend.CapacityLimiter.__dict__["acquire_on_behalf_of"]) is types.FunctionType


async def test_eager_tasks_are_jobs(captured: EventCapture) -> None:
    """Tasks that a factory starts where they are made are jobs as well."""
    factory = getattr(asyncio, "eager_task_factory", None)
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)  # none before 3.12: as it is
    try:

        async def at_once() -> None:
            pass

        async with anyio.create_task_group() as group:
            group.start_soon(at_once)
            group.start_soon(visit, 1)
    finally:
        loop.set_task_factory(None)
    assert captured.tree() == "batch at_once ok\n  job at_once #0 ok\n  job visit #1 ok"


async def test_a_task_that_cannot_be_made_is_a_job_that_failed(captured: EventCapture) -> None:
    """If the loop refuses a task, the error is raised on, the job has it, and the group goes on."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise MemoryError("no more tasks")

    loop = asyncio.get_running_loop()
    async with anyio.create_task_group() as group:
        group.start_soon(visit, 1)
        loop.set_task_factory(refuse)
        try:
            with pytest.raises(MemoryError):
                group.start_soon(visit, 2)
        finally:
            loop.set_task_factory(None)
    assert sorted(captured.tree().splitlines()) == [
        *("  job visit #0 ok", "  job visit #1 error MemoryError"),
        "batch visit error MemoryError",
    ]


def test_a_changed_library_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What anyio lacks of what is known of it makes one warning, and groups work as they did."""
    monkeypatch.delattr(backend, "CapacityLimiter")
    original = backend.TaskGroup.__dict__["_spawn"]
    with caplog.at_level(logging.WARNING, "spanloom"):
        instrument("anyio")
        instrument("anyio")
    uninstrument("anyio")
    assert len(caplog.records) == 1
    assert "anyio is not instrumented" in caplog.text
    assert backend.TaskGroup.__dict__["_spawn"] is original


async def test_a_task_that_is_not_found_ends_its_job(
    captured: EventCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If anyio keeps its tasks elsewhere one day, jobs end where they start, and the work is done."""
    done: list[int] = []

    async def work() -> None:
        await anyio.sleep(0)
        done.append(1)

    target = sys.modules["spanloom.instrument.targets.anyio"]
    monkeypatch.setattr(target, "_newest", lambda *_: None)
    async with anyio.create_task_group() as group:
        group.start_soon(work)
    assert done == [1]
    assert captured.tree() == "batch work ok\n  job work #0 ok"
