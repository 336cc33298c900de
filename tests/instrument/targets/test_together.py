"""All targets at once: what one library does by another is told once."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator

import aiohttp
import aiometer
import anyio
import backoff
import httpx
import pytest
import stamina
import tenacity
from stamina.instrumentation import set_on_retry_hooks
from tqdm.asyncio import tqdm

import spanloom
from spanloom import Event, current_event, get_callback_manager
from spanloom.testing import EventCapture
from tests.instrument.targets.flaky import Flaky
from tests.instrument.targets.patching import patched
from tests.instrument.targets.web import tree, web


@pytest.fixture
def captured() -> Iterator[EventCapture]:
    """The events while everything is patched."""
    with patched() as captured:
        yield captured


async def test_a_crawler_is_one_tree(captured: EventCapture) -> None:
    """Batch, job, retry, attempt and request stand under one another, whatever libraries they are of."""
    with web() as site:
        async with httpx.AsyncClient(timeout=1) as client:
            calls = 0

            @tenacity.retry(wait=tenacity.wait_none())
            async def fetch(path: str) -> str:
                nonlocal calls
                calls += 1
                response = await client.get(site + path)
                if calls == 1:
                    raise ConnectionError
                return response.text

            (text,) = await aiometer.run_all([functools.partial(fetch, "/page")], max_at_once=3)
    assert text == "hello"
    assert tree(captured, site) == (
        "batch fetch ok\n"
        "  job fetch #0 ok\n"
        "    retry fetch ok\n"
        "      attempt fetch 1. error ConnectionError\n"
        "        request GET site ok\n"
        "      backoff fetch 1. ok\n"
        "      attempt fetch 2. ok\n"
        "        request GET site ok"
    )
    assert current_event() is None


async def test_traces_at_once_do_not_mix(captured: EventCapture) -> None:
    """Two hundred traces that run at once, of all these libraries, are complete trees whose parents enclose them."""

    async def fetch(flaky: Flaky) -> int:
        await asyncio.sleep(0)
        return flaky()

    by_tenacity = tenacity.retry(wait=tenacity.wait_none())(fetch)
    by_stamina = stamina.retry(on=ConnectionError, wait_initial=0, wait_jitter=0)(fetch)
    by_backoff = backoff.on_exception(backoff.constant, ConnectionError, interval=0, logger=None)(fetch)

    async def trace(number: int) -> None:
        calls = [
            functools.partial(retried, Flaky(number % 4 + 1))
            for retried in (by_tenacity, by_stamina, by_backoff)
        ]
        with get_callback_manager().as_trace(str(number)):
            if number % 3 == 0:
                await tqdm.gather(*(call() for call in calls), disable=True)
            elif number % 3 == 1:
                await aiometer.run_all(calls, max_at_once=2)
            else:
                async with anyio.create_task_group() as group:
                    for call in calls:
                        group.start_soon(call)

    set_on_retry_hooks([])
    loop = asyncio.get_running_loop()
    for task in [loop.create_task(trace(number)) for number in range(200)]:
        await task
    set_on_retry_hooks(None)
    assert captured.open == []
    traces: dict[int, dict[int, Event]] = {}
    for event in captured.events:
        traces.setdefault(event.trace_id, {})[event.event_id] = event
    assert len(traces) == 200
    for events in traces.values():
        (root,) = (event for event in events.values() if event.parent_id is None)
        kinds = [str(event.type) for event in events.values()]
        attempts = int(root.name) % 4 + 1
        assert [kinds.count(kind) for kind in ("batch", "job", "retry")] == [1, 3, 3]
        assert [kinds.count(kind) for kind in ("attempt", "backoff")] == [3 * attempts, 3 * attempts - 3]
        for event in events.values():
            if event.parent_id is not None:
                parent = events[event.parent_id]
                assert parent.end_ns is not None
                assert event.end_ns is not None
                assert parent.start_ns <= event.start_ns <= event.end_ns <= parent.end_ns


async def test_a_bar_over_requests_is_one_tree(captured: EventCapture) -> None:
    """The jobs of a bar hold the requests of aiohttp, without what that does to make them."""
    with web() as site:
        async with aiohttp.ClientSession() as session:

            async def load(semaphore: asyncio.Semaphore) -> bytes:
                async with semaphore, session.get(f"{site}/page") as response:
                    return await response.read()

            semaphore = asyncio.Semaphore(1)
            assert await tqdm.gather(*(load(semaphore) for _ in range(2)), disable=True) == [b"hello"] * 2
    assert tree(captured, site) == (
        "batch load ok\n  job load #0 ok\n    request GET site ok\n  job load #1 ok\n    request GET site ok"
    )


@pytest.mark.parametrize("order", [("tenacity", "stamina"), ("stamina", "tenacity")], ids="+".join)
@pytest.mark.parametrize("first", ["tenacity", "stamina"])
def test_libraries_that_share_a_class_are_undone_one_by_one(order: tuple[str, ...], first: str) -> None:
    """What is made of another library is patched in that; undone in whatever order, nothing is left in it."""

    def inside() -> list[object]:
        kinds = tenacity.BaseRetrying, tenacity.Retrying, tenacity.AsyncRetrying, tenacity.RetryCallState
        return [value for kind in kinds for value in vars(kind).values()]

    before = inside()
    for name in order:
        spanloom.instrument(name)
    spanloom.uninstrument(first)
    (other,) = set(order) - {first}
    assert spanloom.instrumented() == (other,)
    assert inside() != before
    spanloom.uninstrument(other)
    assert inside() == before
