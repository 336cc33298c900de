"""The fast lane: what a worker leaves to the next job, and what it may not."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar, copy_context
from gc import get_referents
from typing import Any, Self

import pytest

from spanloom import CallbackManager, Event, async_map, current_event, run_jobs, stream, use_callback_manager
from spanloom.concurrency import engine, pace, workers
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


async def test_an_outcome_that_is_taken_wakes_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for one job more is no news for all workers: what an outcome costs does not grow with the limit."""
    loop = asyncio.get_running_loop()
    call_soon, calls = loop.call_soon, itertools.count()

    def counting(*args: Any, **kwargs: Any) -> Any:
        next(calls)
        return call_soon(*args, **kwargs)

    async def job(number: int) -> int:
        await asyncio.sleep(0)
        return number

    taken = 0
    async with stream(job, range(300), limit=100, isolation="context") as outcomes:
        async for _ in outcomes:
            if taken == 100:
                monkeypatch.setattr(loop, "call_soon", counting)
            if taken == 200:
                monkeypatch.undo()
            taken += 1
            for _ in range(3):
                await asyncio.sleep(0)
    assert taken == 300
    assert next(calls) < 100 * 20


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

    for module in (workers, pace):
        monkeypatch.setattr(module, "monotonic_ns", lambda: now_ns)
    watcher = asyncio.create_task(watch())
    with use_callback_manager(CallbackManager(recorder=recorder)):
        await async_map(job, range(1000), limit=20, isolation="context")
    watcher.cancel()
    longest_ms = max(after - before for before, after in itertools.pairwise(turns)) / 1e6
    assert 5 <= longest_ms <= 5 + 1 + 2 * 20


class Sets:
    """Sets a variable at the start, or at the end, of some jobs."""

    def __init__(self, *, at_start: bool, fails_at: int | None = None) -> None:
        self.at_start, self.fails_at = at_start, fails_at

    def on_event_start(self, event: Event) -> None:
        if event.job_index == self.fails_at and event.type == "job":
            raise ValueError
        if self.at_start and (self.fails_at is not None or event.job_index == 0):
            bucket.set(event.job_index)

    def on_event_end(self, event: Event) -> None:
        if not self.at_start and event.job_index == 0:
            bucket.set(event.job_index)


@pytest.mark.parametrize(
    "handler", [Sets(at_start=True), Sets(at_start=False), Sets(at_start=True, fails_at=1)]
)
async def test_what_a_handler_sets_for_one_job_reaches_no_other(handler: Sets) -> None:
    """Not even if it sets it at some starts only, at the end, or fails before it sets it anew."""
    bucket.set(None)

    async def job(_: int) -> Any:
        return bucket.get()

    with use_callback_manager(CallbackManager([handler])):
        seen = await async_map(job, range(4), limit=1, isolation="context")
    assert seen == [0 if handler.at_start else None, None, None, None]


class Binds:
    """Sets a variable at every start, as its ``job_hooks`` says."""

    def job_hooks(self, batch: Event) -> Any:
        return lambda event: bucket.set(event.job_index), None

    def on_events(self, events: Sequence[Event]) -> None:
        """Do nothing."""


async def test_what_a_handler_binds_anew_for_every_job_costs_no_worker() -> None:
    """Each job finds its own value, and one task runs them all, whoever else listens."""
    heard: list[Any] = []

    class Listens:
        def on_event_start(self, event: Event) -> None:
            heard.append(event.job_index)

    async def job(_: int) -> Any:
        return bucket.get(), id(asyncio.current_task())

    for handlers in ([Binds()], [Listens(), Binds()]):
        with CallbackManager(handlers) as manager, use_callback_manager(manager):
            seen = await async_map(job, range(20), limit=1, isolation="context")
        assert [value for value, _ in seen] == list(range(20))
        assert len({task for _, task in seen}) == 1
    assert heard == [None, *range(20)]


async def test_what_another_handler_sets_beside_one_that_binds_reaches_no_other_job() -> None:
    """A start hook of the common kind is watched also where the worker trusts another handler's."""
    other: ContextVar[Any] = ContextVar("other", default=None)

    class SetsOther:
        def on_event_start(self, event: Event) -> None:
            if event.job_index == 1:
                other.set("of job 1")

    async def job(_: int) -> Any:
        return other.get()

    with CallbackManager([Binds(), SetsOther()]) as manager, use_callback_manager(manager):
        seen = await async_map(job, range(4), limit=1, isolation="context")
    assert seen == [None, "of job 1", None, None]


async def test_what_a_handler_has_bound_ends_with_it() -> None:
    """A handler that is taken out during a job leaves its variable to no later job."""
    bucket.set(None)
    handler = Binds()
    manager = CallbackManager([handler])

    async def job(number: int) -> Any:
        if number == 1:
            await asyncio.to_thread(manager.remove_handler, handler)
        return bucket.get()

    with use_callback_manager(manager):
        seen = await async_map(job, range(4), limit=1, isolation="context")
    assert seen == [0, 1, None, None]


async def cancels_itself(started: list[int], cancel: Callable[[], object]) -> None:
    """Run three jobs on one worker, the first of which cancels its task and returns without having waited."""

    async def job(number: int) -> None:
        started.append(number)
        if number == 0:
            cancel()
            return
        await asyncio.sleep(0)

    await async_map(job, range(3), limit=1, isolation="context")


def cancel_current() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@pytest.mark.parametrize("recorder", [0, 100])
async def test_a_cancel_is_the_jobs_own_whatever_its_worker_has_seen_before(recorder: int) -> None:
    """A batch within a job that was cancelled and went on tells a job's cancel from the next job's."""
    started: list[int] = []

    async def outer(_: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        with pytest.raises(asyncio.CancelledError):
            await cancels_itself(started, cancel_current)

    with use_callback_manager(CallbackManager(recorder=recorder)):
        await async_map(outer, [1], limit=1, isolation="context")
    assert started == [0]


@pytest.mark.parametrize("recorder", [0, 100])
async def test_a_cancel_from_a_copied_context_is_the_jobs_own(recorder: int) -> None:
    """A job that cancels its task from within another context does not hand the cancel to the next job."""
    started: list[int] = []
    with use_callback_manager(CallbackManager(recorder=recorder)), pytest.raises(asyncio.CancelledError):
        await cancels_itself(started, lambda: copy_context().run(cancel_current))
    assert started == [0]


@pytest.mark.parametrize("recorder", [0, 100])
async def test_an_input_that_has_raised_is_asked_for_nothing_more(recorder: int) -> None:
    """The other workers take no items from it, and start no jobs with them."""
    pulls = itertools.count(1)

    class Input:
        def __iter__(self) -> Self:
            return self

        def __next__(self) -> int:
            if (number := next(pulls)) == 5:
                raise OSError("input")
            return number

    started: list[int] = []

    async def job(number: int) -> None:
        started.append(number)
        await asyncio.sleep(0)

    with use_callback_manager(CallbackManager(recorder=recorder)), pytest.raises(OSError, match="input"):
        await async_map(job, Input(), limit=40, isolation="context")
    assert next(pulls) == 6
    assert started == [1, 2, 3, 4]


@pytest.mark.parametrize("recorder", [0, 100])
async def test_a_worker_that_survives_the_end_of_its_batch_starts_nothing_more(
    monkeypatch: pytest.MonkeyPatch, recorder: int
) -> None:
    """Between the failure that ends a batch and the last of its cancels, no worker takes another item."""
    monkeypatch.setattr(engine, "CANCEL_SLICE", 1)
    failed = False
    late: list[int] = []

    async def job(number: int) -> None:
        nonlocal failed
        if failed:
            late.append(number)
        await asyncio.sleep(0)
        if number == 0:
            failed = True
            raise ValueError(number)

    with use_callback_manager(CallbackManager(recorder=recorder)), pytest.raises(ValueError, match="0"):
        await async_map(job, range(1000), limit=20, isolation="context")
    assert late == []


async def test_a_limit_far_above_the_number_of_jobs_costs_nothing() -> None:
    """Workers are hired as long as there is something left to take, a few at a time, and slots cost no memory."""
    alive: list[int] = []

    async def job(number: int) -> int:
        alive.append(len(asyncio.all_tasks()))
        await asyncio.sleep(0)
        return number

    for items in ([0, 1, 2], (0, 1, 2), (number for number in range(3))):
        assert await async_map(job, items, limit=10**11, isolation="context") == [0, 1, 2]
    assert max(alive) <= workers.HIRE_SLICE + 10


@pytest.mark.parametrize("isolation", ["task", "context"])
async def test_the_bar_of_a_batch_that_nobody_listens_to_counts_its_jobs(
    isolation: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """`show_progress` tells the numbers also where there is neither a recorder nor a handler."""

    async def job(_: int) -> None:
        pass

    with use_callback_manager(CallbackManager(recorder=0)):
        await async_map(job, range(3), limit=1, isolation=isolation, show_progress=True, desc="shown")
    assert "shown: 3/3 ok=3" in capsys.readouterr().err
