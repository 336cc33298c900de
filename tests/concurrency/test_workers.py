"""The fast lane: what a worker leaves to the next job, and what it may not."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Iterator
from contextvars import ContextVar, copy_context
from gc import get_referents
from typing import Any

import pytest

from spanloom import CallbackManager, async_map, current_event, run_jobs, stream, use_callback_manager
from spanloom.concurrency import workers
from spanloom.concurrency.isolation import is_quiet

bucket: ContextVar[Any] = ContextVar("bucket")


def test_the_map_of_a_context_is_replaced_by_a_set_and_by_nothing_else() -> None:
    """What the lane relies on: a copied context refers to one map, the same one until a variable is set."""
    bucket.set([])
    before, same = copy_context(), copy_context()
    bucket.set([])
    after = copy_context()
    assert len(get_referents(before)) == len(get_referents(after)) == 1
    assert get_referents(same)[0] is get_referents(before)[0]
    assert get_referents(after)[0] is not get_referents(before)[0]


async def test_an_equal_other_list_is_something_left_behind() -> None:
    """A job that sets an empty list in place of an empty list does not hand its list to the next job."""
    ours: list[int] = []
    bucket.set(ours)

    async def first() -> bool:
        bucket.set([])
        await asyncio.sleep(0)
        return bucket.get() is ours

    async def second() -> bool:
        return bucket.get() is ours

    assert await run_jobs([first(), second()], workers=1, isolation="context") == [False, True]


async def test_a_value_that_cannot_be_compared_harms_nobody() -> None:
    """The values of a context are never compared by code of theirs."""

    class Touchy:
        __hash__ = None  # type: ignore[assignment]  # as numpy's arrays are

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("the truth value is ambiguous")

    bucket.set(Touchy())

    async def job(number: int) -> int:
        bucket.set(Touchy())
        return number

    assert await async_map(job, range(3), limit=1, isolation="context") == [0, 1, 2]


async def test_a_scope_that_a_job_has_closed_is_nothing_left_behind() -> None:
    """A variable that is set and set back, as every scope does, costs the worker nothing."""
    tasks = set()

    async def job(number: int) -> None:
        with manager.event("step"):
            await asyncio.sleep(0)
        tasks.add(asyncio.current_task())
        event = current_event()
        assert event is not None
        assert event.job_index == number

    manager = CallbackManager()
    with use_callback_manager(manager):
        await async_map(job, range(50), limit=2, isolation="context")
    assert len(tasks) == 2


async def test_leaving_a_stream_at_once_starts_no_job() -> None:
    """A batch that is stopped before its first worker runs has no jobs."""
    ran: list[int] = []

    async def job(number: int) -> None:
        ran.append(number)

    async with stream(job, range(1000), limit=4, isolation="context"):
        pass
    assert ran == []


async def test_failures_that_are_skipped_make_room() -> None:
    """Workers that wait for the consumer go on when a job fails, whose outcome nobody will take."""

    async def job(number: int) -> int:
        await asyncio.sleep(0)
        if number % 2:
            raise ValueError(number)
        return number

    async with (
        asyncio.timeout(20),
        stream(job, range(200), limit=3, on_error="skip", isolation="context") as outcomes,
    ):
        assert sorted([outcome.index async for outcome in outcomes]) == list(range(0, 200, 2))


async def test_an_input_that_grows_meanwhile_is_worked_off() -> None:
    """A job may append to the list that the batch takes its items from."""
    items = [0, 1]

    async def job(number: int) -> int:
        if number < 4:
            items.append(number + 2)
        return number

    assert await async_map(job, items, limit=1, isolation="context") == [0, 1, 2, 3, 4, 5]


async def test_the_pull_of_an_item_is_not_the_time_of_its_job() -> None:
    """A generator that takes its time makes queue time, not run time."""
    manager = CallbackManager()

    def slow() -> Any:
        for number in range(3):
            deadline = asyncio.get_running_loop().time() + 0.02
            while asyncio.get_running_loop().time() < deadline:
                pass
            yield number

    async def job(number: int) -> None:
        pass

    with use_callback_manager(manager):
        await async_map(job, slow(), limit=1, isolation="context")
    assert manager.recorder is not None
    times = [event.duration_ns or 0 for event in manager.recorder.ended() if event.type == "job"]
    assert len(times) == 3
    assert min(times) < 15_000_000  # the least of three: the machine may be busy with something else


async def test_items_are_never_asked_what_they_equal() -> None:
    """An item that claims to equal everything does not end its generator, nor does one that cannot tell."""

    class Claiming:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = object.__hash__

    class Ambiguous:
        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value is ambiguous")

        __hash__ = object.__hash__

    async def job(item: object) -> object:
        return item

    for kind in (Claiming, Ambiguous):
        items: list[object] = [kind() for _ in range(3)]
        results = await async_map(job, (item for item in items), limit=2, isolation="context")
        assert list(map(id, results)) == list(map(id, items))


async def test_code_of_the_input_shares_no_context_with_jobs() -> None:
    """A function that makes jobs finds what it set itself, and nothing that a job set; nor does a job."""
    seen: list[tuple[str, str]] = []
    bucket.set("")

    async def job() -> None:
        seen.append(("job", bucket.get()))
        bucket.set("a job's")

    def make(number: int) -> Any:
        seen.append(("input", bucket.get()))
        bucket.set(f"made {number}")
        return job()

    await run_jobs(map(make, range(3)), workers=1, isolation="context")
    assert [value for who, value in seen if who == "input"] == ["", "made 0", "made 1"]
    assert [value for who, value in seen if who == "job"] == ["", "", ""]


class Client:
    async def fetch(self, url: str) -> None:
        """Do nothing."""

    def send(self, url: str) -> Any:
        return self.fetch(url)


def _generator() -> Iterator[int]:
    yield 1


def test_an_iterator_is_quiet_only_if_no_code_of_the_users_can_run_in_a_pull() -> None:
    """Containers are, and coroutine functions mapped over them; functions and generators are not."""
    client = Client()
    for quiet in (
        iter([1]),
        iter({1: 2}.items()),
        iter(range(3)),
        map(client.fetch, ["a"]),
        map(functools.partial(Client.fetch, client), ("a",)),
    ):
        assert is_quiet(quiet)
    for noisy in (
        _generator(),
        map(client.send, ["a"]),
        map(client.fetch, map(str, _generator())),
        map(functools.partial(client.send, "a"), range(1)),
    ):
        assert not is_quiet(noisy)


@pytest.mark.parametrize("recorder", [0, 100])
async def test_jobs_that_never_suspend_let_the_loop_turn(
    monkeypatch: pytest.MonkeyPatch, recorder: int
) -> None:
    """One turn takes 5 ms and a job or two of each worker, not 5 ms of each worker."""
    now_ns = 0
    turns: list[int] = []

    async def job(_: int) -> None:
        nonlocal now_ns
        now_ns += 1_000_000

    async def watch() -> None:
        while True:
            turns.append(now_ns)
            await asyncio.sleep(0)

    monkeypatch.setattr(workers, "monotonic_ns", lambda: now_ns)
    watcher = asyncio.create_task(watch())
    with use_callback_manager(CallbackManager(recorder=recorder)):
        await async_map(job, range(1000), limit=20, isolation="context")
    watcher.cancel()
    longest_ms = max(after - before for before, after in itertools.pairwise(turns)) / 1e6
    assert 5 <= longest_ms <= 5 + 1 + 2 * 20
