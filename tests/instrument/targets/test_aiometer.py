"""aiometer: each of its functions is a batch, and what its meters hold back is queued."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from collections.abc import Iterator
from typing import Any

import aiometer
import pytest

from spanloom import current_event, get_callback_manager, instrument, uninstrument
from spanloom.instrument import harmless
from spanloom.testing import EventCapture
from tests.instrument.targets.observing import observe, seen_from_inside
from tests.instrument.targets.patching import patched


@pytest.fixture(params=[["aiometer"], ["asyncio", "anyio", "aiometer"]], ids="+".join)
def captured(request: pytest.FixtureRequest) -> Iterator[EventCapture]:
    """The events while aiometer is patched, alone and with what it is made of."""
    with patched(*request.param) as captured:
        yield captured


async def fetch(number: int) -> int:
    await asyncio.sleep(0.01)
    if number < 0:
        raise ValueError(number)
    return number


def jobs(captured: EventCapture) -> list[Any]:
    found = (event for event in captured.events if event.type == "job")
    return sorted(found, key=lambda job: job.job_index or 0)


async def test_functions_of_aiometer_are_batches(captured: EventCapture) -> None:
    """All four run the same jobs, named for the program's function, under batches that name them."""
    calls = [functools.partial(fetch, number) for number in range(3)]
    assert await aiometer.run_all(calls, max_at_once=2) == [0, 1, 2]
    await aiometer.run_on_each(fetch, range(3), max_at_once=2)
    async with aiometer.amap(fetch, range(3), max_at_once=2) as results:
        assert sorted([number async for number in results]) == [0, 1, 2]
    tree = "batch fetch ok\n" + "\n".join(f"  job fetch #{index} ok" for index in range(3))
    assert captured.tree() == "\n".join([tree] * 3)
    batches = [dict(event.payload) for event in captured.events if event.type == "batch"]
    assert batches == [
        {"runner": f"aiometer.{name}", "limit": 2} for name in ("run_all", "run_on_each", "amap")
    ]
    captured.started.clear()
    captured.events.clear()
    assert await aiometer.run_any(calls) == 0
    assert captured.tree() == tree
    assert current_event() is None


async def test_meters_are_queue_time(captured: EventCapture) -> None:
    """A job is queued from the start of the batch until its meters let it go; there is no other event of that."""
    await aiometer.run_on_each(fetch, range(3), max_at_once=1)
    first, second, third = jobs(captured)
    assert first.queue_ns < second.queue_ns
    assert second.queue_ns >= first.duration_ns
    assert third.queue_ns >= first.duration_ns + second.duration_ns
    assert {event.type for event in captured.events} == {"batch", "job"}
    captured.events.clear()
    await aiometer.run_on_each(fetch, range(3), max_per_second=100)
    _, second, third = jobs(captured)
    assert second.queue_ns > 9e6
    assert third.queue_ns > 18e6


async def test_jobs_hold_what_happens_in_them(captured: EventCapture) -> None:
    """Events of the program's functions stand under their jobs, and the batch under the caller's event."""

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        with get_callback_manager().event(name=f"part of {number}"):
            await asyncio.sleep(0)

    with get_callback_manager().event(name="outer"):
        await aiometer.run_on_each(work, range(10), max_at_once=3)
        assert captured.open[-1] is current_event()
    assert captured.tree().splitlines() == [
        "step outer ok",
        "  batch work ok",
        *(
            line
            for number in range(10)
            for line in (f"    job work #{number} ok", f"      step part of {number} ok")
        ),
    ]


async def test_a_failure_ends_the_batch(captured: EventCapture) -> None:
    """The error that leaves aiometer is that of the batch; jobs that were under way are cancelled."""
    with pytest.raises(ValueError, match="-1"):
        await aiometer.run_all([functools.partial(fetch, number) for number in (1, -1, 2)], max_at_once=3)
    lines = captured.tree().splitlines()
    assert lines[0].startswith("batch fetch error ")
    assert "  job fetch #1 error ValueError" in lines
    assert captured.open == []


async def test_a_call_with_nothing_to_do_is_no_batch(captured: EventCapture) -> None:
    """No items, no batch."""
    assert await aiometer.run_all([]) == []
    assert captured.started == []


async def run_calls() -> list[Any]:
    """Return what programs of all kinds can see of themselves."""

    async def inside(number: int) -> Any:
        await asyncio.sleep(0)
        name, coroutine, _ = seen_from_inside()
        seen.append((number, name, coroutine))
        return number

    async def failing() -> Any:
        return await aiometer.run_all([functools.partial(fetch, number) for number in (1, -1)])

    async def timed_out() -> None:
        async with asyncio.timeout(0.001):
            await aiometer.run_on_each(fetch, range(3), max_at_once=1)

    async def left_early() -> int:
        async with aiometer.amap(inside, [1, 2, 3], max_at_once=1) as results:
            async for result in results:
                return result
        raise AssertionError

    async def wrong() -> Any:
        return await aiometer.run_on_each(fetch, [1], max_at_once=0)

    async def not_sized() -> Any:
        return await aiometer.run_all(fetch for _ in range(2))  # type: ignore[arg-type]  # on purpose

    seen: list[Any] = []
    functions = (failing, timed_out, left_early, wrong, not_sized)
    return [*[await observe(function) for function in functions], seen]


async def test_programs_see_no_difference(captured: EventCapture) -> None:
    """Results, errors with their tracebacks, and the names of tasks are those of aiometer alone."""
    with_events = await run_calls()
    assert captured.started
    assert captured.open == []
    uninstrument()
    assert await run_calls() == with_events


def test_a_changed_library_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What aiometer lacks of what is known of it makes one warning, and it works as it did."""
    inside = sys.modules["aiometer._impl.run_on_each"]
    monkeypatch.delattr(inside, "_worker")
    with caplog.at_level(logging.WARNING, "spanloom"):
        instrument("aiometer")
        instrument("aiometer")
    uninstrument("aiometer")
    assert len(caplog.records) == 1
    assert "aiometer is not instrumented" in caplog.text
    assert aiometer.run_on_each is inside.run_on_each


async def test_a_worker_that_takes_something_else_does_its_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the function cannot be found among what is given to a task, its job is named as the batch is, and runs."""
    inside = sys.modules["aiometer._impl.run_on_each"]
    work = inside._worker

    async def work_on(call: tuple[Any, ...]) -> None:
        await work(*call)

    monkeypatch.setattr(inside, "_worker", work_on)
    monkeypatch.setattr(harmless, "_told", set())
    with patched("aiometer") as captured:
        worker = inside._worker
        monkeypatch.setattr(inside, "_worker", lambda *call: worker(call))
        calls = [functools.partial(fetch, number) for number in range(2)]
        assert await aiometer.run_all(calls) == [0, 1]
    assert captured.tree() == "batch fetch ok\n  job fetch #0 ok\n  job fetch #1 ok"
    assert len(caplog.records) == 1
