"""Batches with a checkpoint: what is done is skipped, what is to be done is stored before it counts."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import functools
import gc
import inspect
import io
import sqlite3
import warnings
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import msgspec
import pytest

import spanloom
from spanloom import (
    CallbackManager,
    Checkpoint,
    CheckpointCodecError,
    CheckpointError,
    Event,
    FixedLimiter,
    RateLimiter,
    RetryPolicy,
    async_map,
    run_jobs,
    use_callback_manager,
)
from spanloom.handlers.debug import DebugHandler
from spanloom.handlers.progress import ProgressHandler
from spanloom.store import checkpoint_log
from spanloom.testing import capture_events
from tests.concurrency.loops import LOOPS, run_on

ran: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    ran.clear()


@pytest.fixture(autouse=True)
def _nothing_is_left(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    """Fail on a coroutine that was never awaited, which Python tells when it is collected."""
    yield
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


async def square(number: int) -> int:
    ran.append(number)
    await asyncio.sleep(0)
    return number * number


async def fragile(number: int) -> int:
    """Fail for 2 and 5 as long as no more than 6 have run."""
    ran.append(number)
    await asyncio.sleep(0)
    if number in (2, 5) and len(ran) <= 6:
        raise ValueError(f"not {number}")
    return number


def stored(file: Path) -> list[object]:
    connection = sqlite3.connect(file)
    try:
        return [value for (value,) in connection.execute("SELECT value FROM results ORDER BY id")]
    finally:
        connection.close()


# skipping -----------------------------------------------------------------------------------------------


async def test_a_second_run_does_only_what_is_not_done(file: Path) -> None:
    """What is stored is not run again, what failed is, and the results are complete and in order."""
    first = await async_map(fragile, range(6), limit=2, on_error="return", checkpoint=Checkpoint(file))
    assert [type(value) for value in first] == [int, int, ValueError, int, int, ValueError]
    assert ran == [0, 1, 2, 3, 4, 5]
    assert await async_map(fragile, range(8), limit=1, checkpoint=Checkpoint(file)) == list(range(8))
    assert ran[6:] == [2, 5, 6, 7]


async def test_a_failure_leaves_what_has_ended_before_it(file: Path) -> None:
    """The first failure is raised, the very object, and what was done before it stays done."""
    failure = ValueError("no")

    async def job(number: int) -> int:
        ran.append(number)
        if number == 3 and len(ran) == 4:
            raise failure
        return number

    with pytest.raises(ValueError, match="no") as caught:
        await async_map(job, range(6), limit=1, checkpoint=Checkpoint(file))
    assert caught.value is failure
    assert await async_map(job, range(6), limit=1, checkpoint=Checkpoint(file)) == list(range(6))
    assert ran == [0, 1, 2, 3, 3, 4, 5]


async def test_none_is_a_result_that_is_kept(file: Path) -> None:
    """A job that returned None is done."""

    async def nothing(number: int) -> None:
        ran.append(number)

    for _ in range(2):
        assert await async_map(nothing, range(3), checkpoint=Checkpoint(file)) == [None, None, None]
    assert len(ran) == 3


async def test_what_is_skipped_is_told(file: Path) -> None:
    """A job that is done has an event of no duration with the status `skipped`, one start, and one end."""
    seen: list[tuple[str, int | None, str | None]] = []
    current: list[bool] = []

    class Listener:
        def on_event_start(self, event: Event) -> None:
            if event.type == "job":
                seen.append(("start", event.job_index, event.status))
                current.append(spanloom.current_event() is event)

        def on_event_end(self, event: Event) -> None:
            if event.type == "job":
                seen.append(("end", event.job_index, event.status))
                assert event.queue_ns is not None
                assert (event.duration_ns == 0) == (event.status == "skipped")

    await async_map(square, [0, 2], checkpoint=Checkpoint(file))
    manager = CallbackManager([Listener()])
    with use_callback_manager(manager):
        with manager.as_trace("first"):  # from here on the manager's variable is in the context
            pass
        before = copy_context()
        await async_map(square, range(3), limit=1, checkpoint=Checkpoint(file))
        assert copy_context() == before
    assert [(what, index) for what, index, _ in seen] == [
        (what, index) for index in (0, 1, 2) for what in ("start", "end")
    ]
    assert [status for what, _, status in seen if what == "end"] == ["skipped", "ok", "skipped"]
    assert current == [True, True, True]
    stats = manager.stats()
    assert (stats.produced, stats.open, stats.dropped) == (stats.delivered, 0, 0)


async def test_what_a_hook_sets_at_the_start_of_a_skipped_job_is_that_jobs_own(file: Path) -> None:
    """As it is at the start of a job that runs: neither the next one nor the caller sees it."""
    variable: ContextVar[int | None] = ContextVar("variable", default=None)
    seen: list[int | None] = []

    class Setting:
        def on_event_start(self, event: Event) -> None:
            if event.type == "job":
                seen.append(variable.get())
                variable.set(event.job_index)

    for _ in range(2):
        with CallbackManager([Setting()]) as manager, use_callback_manager(manager):
            await async_map(square, range(3), limit=1, checkpoint=Checkpoint(file))
    assert seen == [None] * 6
    assert variable.get() is None
    assert ran == [0, 1, 2]


async def test_the_numbers_of_a_batch_add_up_with_what_is_skipped(file: Path) -> None:
    """Counts, table and progress bar count what was skipped by itself, and come to n of n."""
    await async_map(square, range(5), checkpoint=Checkpoint(file))
    screen = io.StringIO()
    debug = DebugHandler()
    with (
        CallbackManager([debug, ProgressHandler(file=screen)]) as manager,
        use_callback_manager(manager),
        capture_events(manager) as captured,
    ):
        await async_map(square, [3, 4, 5, 6], limit=1, checkpoint=Checkpoint(file))
        manager.flush(5)
    (batch,) = [event for event in captured.events if event.type == "batch"]
    counts = batch.counts
    assert counts is not None
    assert (counts.total, counts.started, counts.ended, counts.in_flight) == (4, 4, 4, 0)
    assert (counts.skipped, counts.ok, counts.failed, counts.cancelled) == (2, 2, 0, 0)
    assert spanloom.events.decode(spanloom.events.encode(batch)).counts.skipped == 2  # type: ignore[union-attr]  # see above
    types: Any = debug.summary()["types"]
    assert (types["job"]["count"], types["job"]["ok"], types["job"]["skipped"]) == (4, 2, 2)
    assert "square: 4/4 ok=2 failed=0 skipped=2" in screen.getvalue()
    assert captured.tree().splitlines() == [
        "batch square ok",
        "  job square #0 skipped",
        "  job square #1 skipped",
        "  job square #2 ok",
        "  job square #3 ok",
    ]


@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
async def test_results_are_in_input_order_however_jobs_end(file: Path, on_error: Any) -> None:
    """Skipped, run and failed jobs each have their place in the list, whoever ends first."""

    async def job(number: int) -> int:
        ran.append(number)
        await asyncio.sleep(0.001 * (7 - number % 7))
        if number == 11 and on_error != "raise":
            raise ValueError
        return number

    await async_map(job, range(0, 30, 3), checkpoint=Checkpoint(file))
    pairs = await async_map(
        job, range(30), limit=7, on_error=on_error, with_index=True, checkpoint=Checkpoint(file)
    )
    if on_error == "return":
        assert type(pairs[11][1]) is ValueError
    kept = [(index, value) for index, value in pairs if not isinstance(value, Exception)]
    assert kept == [(number, number) for number in range(30) if number != 11 or on_error == "raise"]


# where items come from ----------------------------------------------------------------------------------


async def test_a_generator_is_not_pulled_ahead_of_the_jobs(file: Path) -> None:
    """As long as nothing is done, an item is pulled when there is a slot for it."""
    pulled = 0

    def numbers() -> Iterator[int]:
        nonlocal pulled
        for number in range(40):
            pulled += 1
            yield number

    async def job(number: int) -> int:
        assert pulled <= len(ran) + 3
        ran.append(number)
        await asyncio.sleep(0)
        assert pulled <= len(ran) + 3
        return number

    assert await async_map(job, numbers(), limit=3, checkpoint=Checkpoint(file)) == list(range(40))


async def test_coroutines_of_done_jobs_are_closed(file: Path) -> None:
    """A coroutine whose result is there is closed, one that was pulled ahead of a failure too."""
    checkpoint = Checkpoint(file, key=range(20))
    assert await run_jobs([square(n) for n in range(20)], checkpoint=checkpoint) == [n * n for n in range(20)]
    assert await run_jobs([square(n) for n in range(20)], checkpoint=checkpoint) == [n * n for n in range(20)]
    assert await run_jobs((square(n) for n in range(20)), checkpoint=checkpoint) == [n * n for n in range(20)]
    assert len(ran) == 20

    def jobs() -> Iterator[Any]:
        yield from (square(n) for n in range(15))
        raise OSError("the list of jobs ends here")

    with pytest.raises(OSError, match="ends here"):
        await run_jobs(jobs(), checkpoint=Checkpoint(file, key=iter(range(20))))
    with pytest.raises(ValueError, match="no"):
        await run_jobs([fail("no"), *(square(n) for n in range(1, 20))], workers=1, checkpoint=checkpoint)


async def fail(text: str) -> int:
    raise ValueError(text)


async def test_done_jobs_that_are_tasks_are_cancelled(file: Path) -> None:
    """A task that was given as a job, and whose result is there, does not outlive the call."""
    await run_jobs([square(2)], checkpoint=Checkpoint(file, key=[2], version="1"))
    task = asyncio.create_task(square(2))
    await run_jobs([task], checkpoint=Checkpoint(file, key=[2], version="1"))
    assert task.done()


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("limit", [1, 3, None, "fixed", "rate"])
@pytest.mark.parametrize("source", ["list", "generator", "async"])
def test_every_kind_of_input_limit_and_loop_can_be_resumed(
    kind: str, limit: Any, source: str, file: Path
) -> None:
    """Whatever the items come from and whatever bounds the jobs, each runs once, in two runs."""
    limiters: dict[Any, Any] = {"fixed": lambda: FixedLimiter(2), "rate": lambda: RateLimiter(1000, 0.001)}
    items: dict[str, Any] = {
        "list": lambda: list(range(20)),
        "generator": lambda: iter(range(20)),
        "async": lambda: numbers(20),
    }

    async def flaky(number: int) -> int:
        if len(ran) > 8 and number % 3 and number not in failed:
            failed.add(number)
            raise ConnectionError
        return await square(number)

    async def both() -> None:
        for isolation in ("task", "context"):
            found = await async_map(
                flaky,
                items[source](),
                limit=limiters.get(limit, lambda: limit)(),
                on_error="skip",
                isolation=isolation,  # type: ignore[arg-type]  # one of the two
                checkpoint=Checkpoint(file, version="1"),
            )
        assert found == [n * n for n in range(20)]

    failed: set[int] = set()
    run_on(kind, both())
    assert sorted(ran) == list(range(20))
    assert failed


async def test_attempts_of_a_job_come_before_its_result_is_stored(file: Path) -> None:
    """A retry policy and a timeout apply to the job's own work; what they let through is stored once."""
    attempts = 0

    async def flaky() -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ConnectionError
        return "done"

    for _ in range(2):
        found = await run_jobs(
            [functools.partial(flaky)],
            retry=RetryPolicy(attempts=3, base_delay=0.001),
            timeout=5,
            checkpoint=Checkpoint(file),
        )
        assert found == ["done"]
    assert attempts == 3
    assert stored(file) == ['"done"']


async def test_one_file_serves_several_functions(file: Path) -> None:
    """Results of the same keys by different functions do not mix, nor those of one function for two models."""

    async def ask(model: str, number: int) -> str:
        return f"{model} {number}"

    for _ in range(2):
        for model in ("small", "large"):
            by_closure = await async_map(lambda n: ask(model, n), range(2), checkpoint=Checkpoint(file))  # noqa: B023 -- it is the point
            by_partial = await async_map(functools.partial(ask, model), range(2), checkpoint=Checkpoint(file))
            assert by_closure == by_partial == [f"{model} 0", f"{model} 1"]
        assert await async_map(square, range(2), checkpoint=Checkpoint(file)) == [0, 1]
    assert len(stored(file)) == 10


async def test_results_of_another_version_only_are_told(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A value bound to the function makes it another version: not without a word, unless the user named the version."""

    def asking(model: str) -> Any:
        async def ask(number: int) -> str:
            return model + str(number)

        return ask

    await async_map(asking("a"), [1, 2], checkpoint=Checkpoint(file))
    await async_map(asking("a"), [1, 2], checkpoint=Checkpoint(file))
    for version in ("1", "2"):
        await async_map(asking("a"), [1, 2], checkpoint=Checkpoint(file, version=version))
    assert caplog.records == []
    assert await async_map(asking("b"), [1, 2], checkpoint=Checkpoint(file)) == ["b1", "b2"]
    (record,) = caplog.records
    assert "ask, but none of this version of it" in record.getMessage()
    assert str(file) in record.getMessage()


class Client:
    """Asks a model."""

    def __init__(self, model: str) -> None:
        self.model = model

    async def ask(self, number: int) -> str:
        return f"{self.model} {number}"


async def test_results_of_another_object_are_told(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The object of a method is not seen: results are not taken without a word, and with a version each has its own."""
    assert await async_map(Client("a").ask, [1], checkpoint=Checkpoint(file)) == ["a 1"]
    assert caplog.records == []
    for _ in range(2):
        found = await async_map(Client("b").ask, [1, 2], checkpoint=Checkpoint(file))
        assert found == ["a 1", "b 2"]
    (record,) = caplog.records
    assert "Client.ask are taken from the checkpoint" in record.getMessage()
    assert "whichever Client has made them" in record.getMessage()
    assert str(file) in record.getMessage()
    for model in "abab":
        found = await async_map(Client(model).ask, [3], checkpoint=Checkpoint(file, version=model))
        assert found == [f"{model} 3"]
    assert len(caplog.records) == 1


async def test_two_batches_use_a_checkpoint_at_once(file: Path) -> None:
    """Batches of one loop share a file, and one `Checkpoint`."""
    checkpoint = Checkpoint(file)
    left, right = await asyncio.gather(
        async_map(square, range(300), limit=10, checkpoint=checkpoint),
        async_map(fragile, range(10, 300), limit=10, checkpoint=checkpoint),
    )
    assert left == [n * n for n in range(300)]
    assert right == list(range(10, 300))
    assert len(stored(file)) == 590


# keys -----------------------------------------------------------------------------------------------------


async def test_a_key_that_occurs_twice_is_an_error(file: Path) -> None:
    """Two items with one key end the batch with a ValueError that names the second; what was done stays done."""
    with pytest.raises(ValueError, match=r"item 3 has the key of an earlier item: 1\b"):
        await async_map(square, (n for n in [0, 1, 2, 1]), limit=1, checkpoint=Checkpoint(file))
    assert ran == [0, 1, 2]
    assert len(stored(file)) == 3


@pytest.mark.parametrize("limit", [1, None, FixedLimiter(2)])
async def test_a_key_that_occurs_twice_in_a_list_is_found_before_anything_runs(
    file: Path, limit: Any
) -> None:
    """The keys of a list are looked at first: no call is paid for, and no coroutine is left behind."""
    with pytest.raises(ValueError, match=r"item 2000 has the key of an earlier item: 5\b"):
        await async_map(square, [*range(2000), 5], limit=limit, checkpoint=Checkpoint(file))
    jobs = [square(number) for number in range(2001)]
    with pytest.raises(ValueError, match="item 2000 has the key of an earlier item: 5"):
        await run_jobs(jobs, checkpoint=Checkpoint(file, key=[*range(2000), 5]))
    assert ran == []
    assert {inspect.getcoroutinestate(job) for job in jobs} == {inspect.CORO_CLOSED}


async def test_keys_have_to_match_the_items(file: Path) -> None:
    """More or fewer keys than items is a ValueError, before anything runs if that can be known."""
    with pytest.raises(ValueError, match="2 keys for 3 items"):
        await run_jobs([square(n) for n in range(3)], checkpoint=Checkpoint(file, key=["a", "b"]))
    assert ran == []
    with pytest.raises(ValueError, match="ran out at item 2"):
        await run_jobs((square(n) for n in range(3)), workers=1, checkpoint=Checkpoint(file, key=["a", "b"]))
    assert ran == [0, 1]


async def test_an_item_without_a_key_of_its_own_is_an_error(file: Path) -> None:
    """An item that has no JSON form, such as a coroutine, is a TypeError that says what to give."""
    with pytest.raises(TypeError, match=r"item 0 cannot be told from others.*key=urls"):
        await run_jobs([square(1), square(2)], checkpoint=Checkpoint(file))
    with pytest.raises(TypeError, match="the key of item 0 must be a string"):
        await async_map(square, [1], checkpoint=Checkpoint(file, key=lambda item: object()))
    assert ran == []


async def test_an_error_of_the_key_function_ends_the_batch(file: Path) -> None:
    """What `key` raises is raised, the very object."""
    failure = KeyError("id")

    def key(item: int) -> str:
        raise failure

    with pytest.raises(KeyError) as caught:
        await async_map(square, [1], checkpoint=Checkpoint(file, key=key))
    assert caught.value is failure


def test_arguments_of_a_checkpoint_are_checked() -> None:
    """What cannot be meant is refused when the checkpoint is made."""
    with pytest.raises(TypeError, match="key must be a function of an item or an iterable of keys, not str"):
        Checkpoint("x.db", key="url")
    with pytest.raises(TypeError, match="not a coroutine function"):
        Checkpoint("x.db", key=square)
    with pytest.raises(ValueError, match="version"):
        Checkpoint("x.db", version="")
    with pytest.raises(
        ValueError, match=r"version must be text that UTF-8 knows: no surrogates \(got '\\udcff'\)"
    ):
        Checkpoint("x.db", version="\udcff")
    with pytest.raises(ValueError, match=r"path must name a file, such as 'results\.db' \(got ''\)"):
        Checkpoint("")
    with pytest.raises(ValueError, match="not both"):
        Checkpoint("x.db", type=int, codec=Reversed())
    with pytest.raises(TypeError, match="encode and decode"):
        Checkpoint("x.db", codec=object())  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="grace_s"):
        Checkpoint("x.db", grace_s=-1)
    assert repr(Checkpoint("x.db")) == "Checkpoint('x.db')"
    assert Checkpoint("x.db").path == Path("x.db")


async def test_what_is_no_checkpoint_is_refused() -> None:
    """A path in the place of a checkpoint is a TypeError that shows the way."""
    with pytest.raises(TypeError, match=r"checkpoint=Checkpoint\('results.db'\)"):
        await async_map(square, [1], checkpoint="x.db")  # type: ignore[call-overload]  # what is tested


# results ----------------------------------------------------------------------------------------------------


class Reversed:
    name = "reversed"

    def encode(self, value: str) -> bytes:
        return value[::-1].encode()

    def decode(self, data: bytes) -> str:
        return data.decode()[::-1]


async def test_a_codec_of_the_users_own_stores_results(file: Path) -> None:
    """A codec takes the place of JSON, and a file remembers which one it was."""

    async def name(number: int) -> str:
        ran.append(number)
        return f"name {number}"

    for _ in range(2):
        found = await async_map(name, range(2), checkpoint=Checkpoint(file, codec=Reversed()))
        assert found == ["name 0", "name 1"]
    assert ran == [0, 1]
    assert stored(file) == [b"0 eman", b"1 eman"]
    with pytest.raises(
        CheckpointError, match=r"results of .*written by the codec 'reversed', and this one has 'json'"
    ):
        await async_map(name, range(2), checkpoint=Checkpoint(file))


class Leaving(Reversed):
    """Raises what nobody may swallow, in one of its methods."""

    def __init__(self, method: str, error: BaseException) -> None:
        self._method, self._error = method, error

    def encode(self, value: str) -> bytes:
        if self._method == "encode" and value == "1":
            raise self._error
        return super().encode(value)

    def decode(self, data: bytes) -> str:
        if self._method == "decode" and data == b"1":
            raise self._error
        return super().decode(data)


@pytest.mark.parametrize("error", [KeyboardInterrupt("mine"), SystemExit(3)])
def test_a_codec_may_end_the_program(file: Path, error: BaseException) -> None:
    """What it raises for that leaves the loop, the very object; what other jobs have returned meanwhile is stored."""

    async def name(number: int) -> str:
        ran.append(number)
        return str(number)

    def run(codec: Reversed) -> list[str]:
        return asyncio.run(async_map(name, range(3), limit=3, checkpoint=Checkpoint(file, codec=codec)))

    for method in ("encode", "decode"):  # which is tried with every result that is stored
        with pytest.raises(type(error)) as raised:
            run(Leaving(method, error))
        assert raised.value is error
        assert sorted(stored(file)) == [b"0", b"2"]  # type: ignore[type-var]  # bytes
    assert run(Reversed()) == ["0", "1", "2"]
    with pytest.raises(type(error)) as raised:
        run(Leaving("decode", error))
    assert raised.value is error


@pytest.mark.parametrize("value", [(1, 2), {1: "a"}, float("nan"), b"bytes", {1, 2}, object(), "\ud800"])
async def test_a_result_that_would_come_back_different_is_a_failure_of_its_job(
    file: Path, value: object
) -> None:
    """What JSON would change is refused when it is stored, with the value at hand; other jobs go on."""

    async def give(number: int) -> object:
        return value if number == 1 else number

    found = await async_map(give, range(3), on_error="return", checkpoint=Checkpoint(file))
    assert [found[0], found[2]] == [0, 2]
    error = found[1]
    assert isinstance(error, CheckpointCodecError)
    assert error.value is value
    assert "type=" in str(error)
    with pytest.raises(CheckpointCodecError):
        await async_map(give, range(3), checkpoint=Checkpoint(file))


async def test_results_are_read_back_as_the_type_that_is_given(file: Path) -> None:
    """With `type=`, results come back as what they were."""

    async def pair(number: int) -> tuple[int, str]:
        ran.append(number)
        return number, "x"

    for _ in range(2):
        found = await async_map(pair, range(2), checkpoint=Checkpoint(file, type=tuple[int, str]))
        assert found == [(0, "x"), (1, "x")]
    assert ran == [0, 1]
    with pytest.raises(CheckpointError, match="cannot be read"):
        await async_map(pair, range(2), checkpoint=Checkpoint(file, type=dict[str, str]))


class Color(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: float


class Line(msgspec.Struct):
    points: list[Point]


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (Color.RED, None),
        (collections.OrderedDict(a=1), None),
        ({"s": Color.RED}, None),
        ({"d": collections.defaultdict(int, a=1)}, None),
        ([[{"c": collections.OrderedDict(a=1)}]], None),
        ({Color.RED: 1}, None),
        (Point(1), Point),
        (Line([Point(0.5), Point(1)]), Line),
        ([1.5, 1], list[float]),
        ({1}, set[float]),
    ],
)
async def test_types_inside_of_a_result_do_not_change_either(file: Path, value: object, type_: Any) -> None:
    """What would come back equal, but of another type somewhere inside, is refused, too."""

    async def give(number: int) -> object:
        return value

    with pytest.raises(CheckpointCodecError, match=r"come back different.* or something inside of it"):
        await async_map(give, [1], checkpoint=Checkpoint(file, type=type_))


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ({"a": [1, 1.5, None, True, "x", {"b": []}]}, None),
        (Line([Point(0.5), Point(1.0)]), Line),
        ({Color.RED: (1, {2})}, dict[Color, tuple[int, set[int]]]),
        ({1: {"a"}}, dict[int, set[str]]),
    ],
)
async def test_types_inside_of_a_result_come_back(file: Path, value: object, type_: Any) -> None:
    """What comes back as it was is stored, however deep it is."""

    async def give(number: int) -> object:
        ran.append(number)
        return value

    for _ in range(2):
        assert await async_map(give, [1], checkpoint=Checkpoint(file, type=type_)) == [value]
    assert ran == [1]


# time -------------------------------------------------------------------------------------------------------


async def wait_until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def test_a_job_ends_when_its_result_is_committed(file: Path) -> None:
    """While another process holds the file, jobs that have returned are still running; then they end."""
    await async_map(square, [99], checkpoint=Checkpoint(file))
    ended: list[int | None] = []

    class Listener:
        def on_event_end(self, event: Event) -> None:
            if event.type == "job":
                ended.append(event.job_index)
                assert str(event.job_index) in {
                    str(value) for value in stored(file)
                }  # seen by another connection

    async def same(number: int) -> int:
        ran.append(number)
        return number

    await async_map(same, [-1], checkpoint=Checkpoint(file))
    ran.clear()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with use_callback_manager(CallbackManager([Listener()], raise_handler_errors=True)):
        task = asyncio.create_task(async_map(same, range(2), limit=2, checkpoint=Checkpoint(file)))
        await wait_until(lambda: len(ran) == 2)
        await asyncio.sleep(0.05)
        assert ended == []
        other.execute("ROLLBACK")
        other.close()
        assert await task == [0, 1]
    assert sorted(ended) == [0, 1]


async def test_a_cancel_while_a_result_is_committed_does_not_lose_it(file: Path) -> None:
    """A job that is cancelled after it has returned is stored before the batch raises, and not run again."""

    async def same(number: int) -> int:
        ran.append(number)
        return number

    await async_map(same, [-1], checkpoint=Checkpoint(file))
    ran.clear()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(async_map(same, range(3), limit=3, checkpoint=Checkpoint(file)))
    await wait_until(lambda: len(ran) == 3)
    await asyncio.sleep(0.02)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.05)
    assert not done  # it waits for the file, however often it is cancelled
    task.cancel()
    other.execute("ROLLBACK")
    other.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(map(str, stored(file))) == ["-1", "0", "1", "2"]
    assert await async_map(same, range(3), checkpoint=Checkpoint(file)) == [0, 1, 2]
    assert len(ran) == 3


async def test_a_cancel_does_not_wait_for_another_process_for_long(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who holds the file cannot hold a cancelled batch: what is not stored by then is given up, and counted."""
    monkeypatch.setattr(checkpoint_log, "STOP_S", 0.2)

    async def same(number: int) -> int:
        ran.append(number)
        return number

    await async_map(same, [-1], checkpoint=Checkpoint(file))
    ran.clear()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(async_map(same, range(3), limit=3, checkpoint=Checkpoint(file)))
    await wait_until(lambda: len(ran) == 3)
    await asyncio.sleep(0.02)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=10)
    other.close()
    assert done
    assert task.cancelled()
    assert stored(file) == ["-1"]
    told = [
        record.getMessage().partition(" ") for record in caplog.records
    ]  # of each group that was to be written
    assert sum(int(count) for count, _, _ in told) == 3
    for _, _, text in told:
        assert text.startswith(
            f"results of jobs that were cancelled are not stored: the checkpoint {file} cannot be written: database is "
            f"locked: another process has been writing to it for 0."
        )


async def test_the_loop_goes_on_while_results_are_committed_and_looked_up(file: Path) -> None:
    """Results of some size are encoded, written and read off the loop."""
    text = "x" * 300_000

    async def turn(took_s: list[float]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0)
            took_s.append(loop.time() - before)

    async def long(number: int) -> list[str]:
        return [text, str(number)]

    async def slowest_s(file: Path) -> float:
        took_s: list[float] = []
        turning = asyncio.create_task(turn(took_s))
        for _ in range(2):
            found = await async_map(long, range(60), limit=20, checkpoint=Checkpoint(file))
            assert [number for _, number in found] == [str(number) for number in range(60)]
        turning.cancel()
        return max(took_s)

    # Some 20 MB took longer than that in all, each time; on a quiet machine the longest turn takes 10 ms. One that
    # stands still does so now and then.
    found_s = []
    while not found_s or (found_s[-1] >= 0.5 and len(found_s) < 10):
        found_s.append(await slowest_s(file.with_name(f"{len(found_s)}.db")))
    assert found_s[-1] < 0.5


async def test_the_collector_does_not_look_into_what_waits_for_its_turn(file: Path) -> None:
    """It would hold the loop for as long as there are items, again and again."""
    large: list[type] = []

    def look() -> list[type]:
        kinds = list, dict, set, tuple, collections.deque
        return [type(each) for each in gc.get_objects() if isinstance(each, kinds) and len(each) > 20_000]

    async def work(number: int) -> int:
        if not number:
            large.extend(look())
        return number

    before = look()
    assert len(await async_map(work, range(30_000), limit=100, checkpoint=Checkpoint(file))) == 30_000
    assert large == before


# faults -----------------------------------------------------------------------------------------------------


def test_no_file_is_opened_by_a_batch_without_a_checkpoint(run_python: Any) -> None:
    """Who uses no checkpoint loads no SQLite."""
    out = run_python(
        """
        import asyncio, sys
        from spanloom import run_jobs
        async def job(): return 1
        asyncio.run(run_jobs([job()]))
        print("sqlite3" in sys.modules)
        from spanloom import Checkpoint
        print("sqlite3" in sys.modules)
        import spanloom
        try:
            spanloom.Nothing
        except AttributeError as error:
            print(error)
        """
    )
    assert out.splitlines() == ["False", "True", "module 'spanloom' has no attribute 'Nothing'"]


async def test_a_file_that_cannot_be_used_is_told_before_anything_runs(tmp_path: Path) -> None:
    """A folder, a file of another program, one from a newer version: a clear error, and nothing is run or left."""
    folder, other, text, newer = (tmp_path / name for name in ("folder", "other.db", "text.db", "newer.db"))
    folder.mkdir()
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    text.write_text("not a database, but long enough to have a header of one " * 10)
    await async_map(square, [1], checkpoint=Checkpoint(newer))
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    ran.clear()
    blocked = text / "below" / "a.db"
    for path, said in (
        (folder, "unable to open"),
        (other, "not a record of spanloom"),
        (text, "not a database"),
        (newer, "a newer version of spanloom wrote it"),
        (blocked, "Not a directory"),
        (tmp_path / "a\0b.db", "null (byte|character)"),
        (tmp_path / "\ud800.db", "surrogates not allowed"),
    ):
        with pytest.raises(CheckpointError, match=said) as caught:
            async with asyncio.timeout(20):
                await run_jobs([square(n) for n in range(3)], checkpoint=Checkpoint(path, key=range(3)))
        assert str(path) in str(caught.value)
    assert ran == []


@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
async def test_a_file_that_fails_ends_the_batch(file: Path, on_error: Any) -> None:
    """When results can be stored no more, the batch ends, whatever on_error is; what was stored stays."""

    async def job(number: int) -> int:
        ran.append(number)
        if number == 5:
            connection = sqlite3.connect(file)
            connection.execute("ALTER TABLE results RENAME TO elsewhere")
            connection.close()
        return number

    with pytest.raises(CheckpointError, match="cannot be written") as caught:
        await async_map(job, range(50), limit=2, on_error=on_error, checkpoint=Checkpoint(file))
    assert not isinstance(caught.value, CheckpointCodecError)
    assert len(ran) < 10
    connection = sqlite3.connect(file)
    connection.execute("ALTER TABLE elsewhere RENAME TO results")
    connection.close()
    kept = stored(file)
    assert len(kept) >= 4
    ran.clear()
    assert await async_map(job_of(job), range(5), checkpoint=Checkpoint(file)) == list(range(5))


async def test_a_checkpoint_inside_a_job_is_the_jobs_affair(file: Path) -> None:
    """A batch within a job whose own file fails is a failure of that job: on_error decides, the others go on."""

    async def outer(number: int) -> int:
        own = file.parent if number == 1 else file  # a folder is no file
        return sum(await async_map(square, [number], checkpoint=Checkpoint(own)))

    first, failed, last = await async_map(outer, range(3), on_error="return", checkpoint=Checkpoint(file))
    assert (first, last) == (0, 4)
    assert type(failed) is CheckpointError
    with pytest.raises(CheckpointError, match="unable to open"):
        await async_map(outer, range(3), checkpoint=Checkpoint(file))


def job_of(job: Any) -> Any:
    return job


async def test_a_file_that_is_removed_ends_the_batch(file: Path) -> None:
    """What is written to a file that is not there any more does not count as stored."""

    async def job(number: int) -> int:
        ran.append(number)
        if number == 5:
            file.unlink()
        return number

    with pytest.raises(CheckpointError, match="removed or replaced"):
        await async_map(job, range(50), limit=1, checkpoint=Checkpoint(file))
    assert ran == [0, 1, 2, 3, 4, 5]


async def test_a_record_and_results_live_in_one_file(file: Path) -> None:
    """The file that runs are recorded in takes results, too, and both can be read."""
    from spanloom.handlers.record import RecordHandler
    from spanloom.store.reader import StoreReader

    for _ in range(2):
        with CallbackManager([RecordHandler(file)]) as manager, use_callback_manager(manager):
            assert await async_map(square, range(3), checkpoint=Checkpoint(file)) == [0, 1, 4]
    assert len(ran) == 3
    with StoreReader(file) as store:
        runs = store.runs()
        statuses = [[record.status for record in store.records(run) if record.type == "job"] for run in runs]
    assert statuses == [["skipped"] * 3, ["ok"] * 3]


def test_a_loop_that_is_left_in_the_middle_keeps_nothing(file: Path) -> None:
    """A loop that is closed with a batch in it neither hangs nor loses what was stored."""

    async def job(number: int) -> int:
        ran.append(number)
        if number == 3:
            await asyncio.Event().wait()
        return number

    async def main() -> None:
        task = asyncio.create_task(async_map(job, range(9), limit=1, checkpoint=Checkpoint(file)))
        await wait_until(lambda: len(ran) == 4)
        tasks.append(task)

    tasks: list[asyncio.Task[Any]] = []
    loop = asyncio.new_event_loop()
    complaints: list[Any] = []
    loop.set_exception_handler(lambda loop, context: complaints.append(context))
    loop.run_until_complete(main())
    assert [str(value) for value in stored(file)] == ["0", "1", "2"]
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tasks.clear()
        gc.collect()
    assert [str(value) for value in stored(file)] == ["0", "1", "2"]
