"""Jobs that are awaitables of their own are each called what they are."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanloom import (
    CallbackManager,
    Checkpoint,
    RetryPolicy,
    batch_gather,
    gather,
    race,
    run_jobs,
    stream,
    use_callback_manager,
)
from spanloom.concurrency import kinds
from spanloom.handlers.debug import DebugHandler
from spanloom.handlers.otel import OpenTelemetryHandler
from spanloom.handlers.record import RecordHandler
from spanloom.store.reader import StoreReader
from spanloom.testing import capture_events

isolations = pytest.mark.parametrize("isolation", ["task", "context"])


async def users(number: int = 0) -> int:
    await asyncio.sleep(0)
    return number


async def orders(number: int = 0) -> int:
    await asyncio.sleep(0)
    return number


def mixed(count: int) -> list[Any]:
    return [(users, orders)[number % 2](number) for number in range(count)]


def names(captured: Any) -> list[str]:
    """Return the names of the jobs, in order of their index."""
    jobs = sorted(
        (event for event in captured.events if event.type == "job"), key=lambda event: event.job_index
    )
    return [job.name for job in jobs]


@isolations
async def test_each_job_has_the_name_of_its_own_function(isolation: Any) -> None:
    """The batch is called after the first one; ids, parents and counts are as if all were of one kind."""
    with capture_events() as captured:
        assert await run_jobs(mixed(6), workers=2, isolation=isolation) == [0, 1, 2, 3, 4, 5]
    assert names(captured) == ["users", "orders"] * 3
    batch = next(event for event in captured.events if event.type == "batch")
    jobs = [event for event in captured.events if event.type == "job"]
    assert batch.name == "users"
    assert {job.parent_id for job in jobs} == {batch.event_id}
    assert len({job.event_id for job in jobs}) == 6
    assert batch.counts is not None
    assert (batch.counts.started, batch.counts.in_flight) == (6, 0)


@isolations
async def test_a_generator_of_jobs_names_each_too(isolation: Any) -> None:
    """Where the name of the first is only known when it comes."""
    with capture_events() as captured:
        await run_jobs((job for job in mixed(4)), workers=2, isolation=isolation)
    assert names(captured) == ["users", "orders"] * 2


async def test_every_runner_of_awaitables_names_each() -> None:
    """gather, batch_gather, race and stream."""
    for run in (
        lambda: gather(users(), orders()),
        lambda: batch_gather(mixed(2), 2),
        lambda: race(users(), orders()),
    ):
        with capture_events() as captured:
            await run()
        assert names(captured) == ["users", "orders"]
    with capture_events() as captured:
        async with stream(mixed(2)) as outcomes:
            assert {outcome.index async for outcome in outcomes} == {0, 1}
    assert names(captured) == ["users", "orders"]


async def test_functions_are_named_too_and_so_are_their_attempts() -> None:
    """Functions without arguments, partials of them, and callable objects, with a retry policy."""

    class Fetch:
        async def __call__(self) -> int:
            return 3

    fetch: Any = Fetch()
    with capture_events() as captured:
        await run_jobs([users, functools.partial(orders, 2), fetch], retry=RetryPolicy())
    name = Fetch.__qualname__.rpartition("<locals>.")[2]
    assert names(captured) == ["users", "orders", name]
    attempts = {event.name for event in captured.events if event.type == "attempt"}
    assert attempts == {"users", "orders", name}


async def test_a_task_that_is_given_is_named_as_the_first_is() -> None:
    """A future has no function to be called after."""
    with capture_events() as captured:
        await gather(users(), asyncio.ensure_future(orders()))
    assert names(captured) == ["users", "users"]


async def test_jobs_that_a_checkpoint_skips_are_named_as_when_they_ran(tmp_path: Path) -> None:
    """In the first run and in the second."""
    checkpoint = Checkpoint(tmp_path / "done.db", key=range(4))
    for _ in range(2):
        with capture_events() as captured:
            await run_jobs(mixed(4), checkpoint=checkpoint)
        assert names(captured) == ["users", "orders"] * 2


async def test_statistics_are_by_name() -> None:
    """A DebugHandler tells the kinds of a batch apart."""
    debug = DebugHandler()
    manager = CallbackManager([debug])
    with use_callback_manager(manager):
        await gather(*mixed(10), users())
    manager.flush()
    summary: Any = debug.summary()
    assert {name: row["count"] for name, row in summary["types"]["job"]["names"].items()} == {
        "users": 6,
        "orders": 5,
    }


async def test_names_without_end_are_told_apart_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who makes a name for each job has the rest called like the first one."""
    monkeypatch.setattr(kinds, "MAX_KINDS", 2)

    def made(name: str) -> Any:
        async def job() -> None:
            pass

        job.__qualname__ = name
        return job

    with capture_events() as captured:
        await run_jobs([made(name) for name in "abcd"])
    assert names(captured) == ["a", "b", "c", "a"]


async def test_a_task_is_called_as_its_job_is() -> None:
    """So that asyncio's own tools say the same."""
    seen: list[str] = []

    async def look() -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append(task.get_name())

    await gather(users(), look())
    assert seen[0].endswith("look")


async def test_a_record_and_spans_have_the_names_too(tmp_path: Path) -> None:
    """Whatever keeps something for all jobs of a batch keeps it for each kind."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    manager = CallbackManager([RecordHandler(tmp_path / "runs.db"), OpenTelemetryHandler(provider)])
    with use_callback_manager(manager):
        await run_jobs(mixed(600), workers=7)
    assert await manager.aclose(10)
    provider.shutdown()
    with StoreReader(tmp_path / "runs.db") as store:
        recorded = {
            record.job_index: record.name for record in store.records(store.find("last"), types=["job"])
        }
    assert recorded == {index: ("users", "orders")[index % 2] for index in range(600)}
    spans = [
        span for span in exporter.get_finished_spans() if "spanloom.job.index" in (span.attributes or {})
    ]
    assert Counter(span.name for span in spans) == {"users": 300, "orders": 300}
    assert all(
        span.name == ("users", "orders")[int(str((span.attributes or {})["spanloom.job.index"])) % 2]
        for span in spans
    )
