"""tqdm.asyncio: gather and as_completed are batches, with the same bar and results."""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tqdm.asyncio import tqdm, tqdm_asyncio

from spanloom import current_event, get_callback_manager, instrument, uninstrument
from spanloom.instrument import instrumented
from spanloom.testing import EventCapture
from tests.instrument.targets.observing import observe, seen_from_inside
from tests.instrument.targets.patching import patched


@pytest.fixture(params=[["tqdm"], ["asyncio", "tqdm"]], ids="+".join)
def captured(request: pytest.FixtureRequest) -> Iterator[EventCapture]:
    """The events while tqdm is patched, alone and with asyncio."""
    with patched(*request.param) as captured:
        yield captured


async def fetch(number: int) -> int:
    await asyncio.sleep(0.001)
    if number < 0:
        raise ValueError(number)
    return number


TREE = "batch fetch ok\n  job fetch #0 ok\n  job fetch #1 ok\n  job fetch #2 ok"


async def test_a_gather_is_a_batch(captured: EventCapture) -> None:
    """Jobs have the order and the names of what was given; the bar goes to its end."""
    bar = io.StringIO()
    assert await tqdm.gather(*(fetch(number) for number in range(3)), file=bar) == [0, 1, 2]
    assert captured.tree() == TREE
    assert "3/3" in bar.getvalue()
    (batch,) = (event for event in captured.events if event.type == "batch")
    assert dict(batch.payload) == {"runner": "tqdm.gather", "limit": None}
    assert batch.counts is not None
    assert batch.counts.total == 3
    assert current_event() is None


async def test_as_completed_is_a_batch(captured: EventCapture) -> None:
    """What is started when the first result is asked for is a batch."""
    loop = tqdm.as_completed([fetch(number) for number in range(3)], disable=True)
    assert captured.started == []
    assert sorted([await future for future in loop]) == [0, 1, 2]
    assert captured.tree() == TREE
    assert captured.events[-1].payload["runner"] == "tqdm.as_completed"


async def test_a_semaphore_is_queue_time(captured: EventCapture) -> None:
    """With asyncio patched as well, jobs that begin with a wait for a semaphore are queued until they have it."""
    semaphore, gate = asyncio.Semaphore(1), asyncio.Event()

    async def work() -> None:
        async with semaphore:
            with get_callback_manager().event(name="inside"):
                await gate.wait()

    async def open_gate() -> int:
        while not any(event.name == "inside" for event in captured.started):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        gate.set()
        return time.perf_counter_ns()

    loop = asyncio.get_running_loop()
    opening = loop.create_task(open_gate())
    await tqdm.gather(*(work() for _ in range(2)), disable=True)
    opened_ns = await opening
    assert "batch work ok" in captured.tree()
    started = [event.start_ns > opened_ns for event in captured.events if event.type == "job"]
    # Who asks for tqdm alone has not asked for asyncio's semaphores.
    assert started == [False, "asyncio" in instrumented()]


async def test_a_failure_leaves_the_others_running(captured: EventCapture) -> None:
    """As ever with tqdm, what was started runs on; the batch ends when all of it has."""
    gate = asyncio.Event()
    with pytest.raises(ValueError, match="-1"):
        await tqdm.gather(fetch(-1), gate.wait(), disable=True)
    assert [event.type for event in captured.open] == ["batch", "job"]
    gate.set()
    while captured.open:
        await asyncio.sleep(0.001)
    assert captured.tree() == "batch fetch ok\n  job fetch #0 error ValueError\n  job Event.wait #1 ok"


async def test_tasks_and_futures_are_taken_as_they_are(captured: EventCapture) -> None:
    """A task that is under way is a job from now on, and nothing but waited for; a bare future is none."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(0.002, future.set_result, 5)
    task = loop.create_task(fetch(1))
    await asyncio.sleep(0)
    futures = tqdm.as_completed({task, future}, disable=True)
    assert sorted([await done for done in futures]) == [1, 5]
    assert captured.tree() == "batch fetch ok\n  job fetch #0 ok"
    assert await tqdm.gather(task, fetch(2), disable=True) == [1, 2]


async def run_calls() -> list[Any]:
    """Return what programs of all kinds can see of themselves."""

    async def inside(number: int) -> int:
        await asyncio.sleep(0)
        seen.append((number, *seen_from_inside()))
        return number

    async def gathered() -> Any:
        return await tqdm.gather(inside(1), inside(2), disable=True)

    async def failing() -> Any:
        return await tqdm.gather(fetch(-1), fetch(1), disable=True)

    async def returned() -> Any:
        results = await tqdm.gather(fetch(-1), fetch(1), return_exceptions=True, disable=True)
        return [repr(result) for result in results]

    async def timed_out() -> Any:
        return [
            await future for future in tqdm.as_completed([asyncio.sleep(0.02)], timeout=0.001, disable=True)
        ]

    async def empty() -> Any:
        return await tqdm.gather(disable=True)

    async def wrong() -> Any:
        return list(tqdm.as_completed(number for number in range(3)))

    seen: list[Any] = []
    functions: tuple[Callable[[], Any], ...] = (gathered, failing, returned, timed_out, empty, wrong)
    results = [await observe(function) for function in functions]
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.001)
    return [*results, sorted(seen)]


async def test_programs_see_no_difference(captured: EventCapture) -> None:
    """Results, errors with their tracebacks, and the names and stacks of tasks are those of tqdm alone."""
    with_events = await run_calls()
    assert captured.started
    assert captured.open == []
    uninstrument()
    assert await run_calls() == with_events


def test_it_stays_a_generator_function() -> None:
    """What ``as_completed`` is can be seen from outside as before."""
    with patched("tqdm"):
        assert inspect.isgeneratorfunction(tqdm.as_completed)
        assert next(iter(inspect.signature(tqdm.as_completed).parameters)) == "fs"


def test_a_changed_library_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What tqdm lacks of what is known of it makes one warning, and no break."""
    monkeypatch.delattr(tqdm_asyncio, "as_completed")
    with caplog.at_level(logging.WARNING, "spanloom"):
        instrument("tqdm")
        instrument("tqdm")
    uninstrument("tqdm")
    assert len(caplog.records) == 1
    assert "tqdm is not instrumented" in caplog.text
