"""The public API as a type checker sees it. Never run: mypy and pyright read it (`make check`)."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, assert_type

from spanloom import (
    CallbackManager,
    Checkpoint,
    FixedLimiter,
    Outcome,
    RateLimiter,
    RetryPolicy,
    async_map,
    batch_gather,
    fill_batch,
    gather,
    get_callback_manager,
    in_flight,
    instrument,
    instrument_class,
    instrumented,
    partial_outcomes,
    propagate,
    race,
    retry,
    run_jobs,
    run_sync,
    stream,
    traced,
    uninstrument,
    use_callback_manager,
)
from spanloom.compat import adaptive_harmony, lionherd
from spanloom.events import Event, EventType, Handler
from spanloom.handlers.otel import Configuration, OpenTelemetryHandler, configure
from spanloom.processing import (
    BatchResult,
    GuardRails,
    LLMCallStrategy,
    LLMWorkItem,
    ParallelBatchProcessor,
    ProcessorConfig,
    RetryState,
    TokenUsage,
    WorkItemResult,
)


async def length(text: str) -> int:
    return len(text)


async def one() -> int:
    return 1


async def texts() -> AsyncIterator[str]:
    yield ""


async def running() -> None:
    assert_type(await run_jobs([one()]), list[int])
    assert_type(await run_jobs([one()], on_error="skip"), list[int])
    assert_type(await run_jobs([one()], on_error="return"), list[int | Exception])
    assert_type(await run_jobs([one()], workers=FixedLimiter(3), retry=RetryPolicy()), list[int])
    assert_type(await async_map(length, ["a"], limit=3), list[int])
    assert_type(await async_map(length, texts(), limit=RateLimiter(3)), list[int])
    assert_type(await async_map(length, ["a"], on_error="skip"), list[int])
    assert_type(await async_map(length, ["a"], on_error="return"), list[int | Exception])
    assert_type(await async_map(length, ["a"], with_index=True), list[tuple[int, int]])
    pairs = await async_map(length, ["a"], with_index=True, on_error="return")
    assert_type(pairs, list[tuple[int, int | Exception]])
    assert_type(await batch_gather([one()], 5), list[int])
    assert_type(await batch_gather([one()], 5, on_error="return"), list[int | Exception])
    assert_type(await fill_batch(length, ["a"], 1), list[int])
    assert_type(await gather(one(), one()), list[int])
    assert_type(await gather(one(), one(), return_exceptions=True), list[int | Exception])
    assert_type(await race(one(), one()), int)
    assert_type(await retry(one, attempts=3), int)
    assert_type(run_sync(one()), int)


async def streaming() -> None:
    async with stream(length, ["a"], limit=3) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Outcome[int])
            assert_type(outcome.index, int)
            assert_type(outcome.value, int | None)
            assert_type(outcome.status, str)
            assert_type(outcome.unwrap(), int)
            assert_type(outcome.queue_ns, int)
            assert_type(outcome.busy_ns, int | None)
    async with stream([one()]) as more:
        async for outcome in more:
            assert_type(outcome, Outcome[int])


async def retrying() -> None:
    reliable = RetryPolicy(attempts=3, retry_on=(OSError,)).retrying(length)
    call = assert_type(reliable("a"), Coroutine[Any, Any, int])
    assert_type(await call, int)


def events(manager: CallbackManager) -> None:
    with manager.event(EventType.STEP, {"size": 1}, name="parse") as scope:
        assert_type(scope.event_id, int)
        assert_type(scope.trace_id, int)
        scope.set(size=2)
    event_id = manager.on_event_start("mine")
    manager.on_event_end(event_id)
    manager.emit("mine", {"size": 1})
    with manager.as_trace("all"):
        pass
    with use_callback_manager(manager) as used:
        assert_type(used, CallbackManager)
    assert_type(get_callback_manager(), CallbackManager)
    assert_type(in_flight(), list[Event])


manager = CallbackManager()


@manager.trace()
def plain(number: int) -> str:
    return str(number)


@manager.trace("named")
async def coroutine(number: int) -> str:
    return str(number)


@manager.trace()
def generator(number: int) -> Iterator[int]:
    yield number


def decorated() -> None:
    assert_type(plain(1), str)
    wrapped: Callable[[int], Coroutine[object, object, str]] = coroutine
    assert_type(generator(1), Iterator[int])
    assert_type(propagate(plain)(1), str)
    del wrapped


class Counter(Handler):
    """A handler by inheritance; one by shape alone is accepted, too."""

    def __init__(self) -> None:
        self.count = 0

    def on_event_end(self, event: Event) -> None:
        assert_type(event.duration_ns, int | None)
        self.count += 1


class ByShape:
    def on_event(self, event: Event) -> None:
        del event


def handlers() -> None:
    CallbackManager([Counter(), ByShape()], raise_handler_errors=True)


def telemetry() -> None:
    with configure(set_global=True, max_text=100, spool="spool") as configuration:
        assert_type(configuration, Configuration)
        assert_type(configuration.handler, OpenTelemetryHandler | None)
        assert_type(configuration.flush(1.0), bool)
    configure(max_texts=100)  # type: ignore[call-arg]  # there is no such option


async def checkpoints() -> None:
    checkpoint = Checkpoint("results.db", key=lambda text: text, type=tuple[int, str])
    assert_type(await async_map(length, ["a"], checkpoint=checkpoint), list[int])
    assert_type(await run_jobs([one()], checkpoint=Checkpoint("results.db", key=["a"])), list[int])
    try:
        await run_jobs([one()], on_error="return", checkpoint=checkpoint)
    except KeyboardInterrupt as error:
        assert_type(partial_outcomes(error), list[Outcome[Any]])


async def facades() -> None:
    assert_type(await lionherd.gather(one(), one()), list[int])
    assert_type(await lionherd.gather(one(), return_exceptions=True), list[int | Exception])
    assert_type(await lionherd.race(one()), int)
    assert_type(await lionherd.bounded_map(length, ["a"], limit=2), list[int])
    assert_type(await lionherd.retry(one), int)
    assert_type(lionherd.run_async(one()), int)
    assert_type(await lionherd.run_sync(len, "a"), int)
    async with lionherd.CompletionStream([one()], limit=2) as stream:
        assert_type([pair async for pair in stream], list[tuple[int, int]])
    with lionherd.fail_after(None) as scope:
        assert_type(scope.cancelled_caught, bool)
    assert_type(await adaptive_harmony.async_map(length, ["a"]), list[int])
    assert_type(await adaptive_harmony.async_map_fallible(length, ["a"]), list[int])
    assert_type(await adaptive_harmony.batch_process_fallible(length, ["a"]), list[tuple[int, int]])
    assert_type(await adaptive_harmony.async_map_batch(length, iter(["a"]), 1), list[int])


class Count(LLMCallStrategy[int]):
    async def execute(
        self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[int, TokenUsage]:
        return len(prompt), {"total_tokens": 1}


def price(result: WorkItemResult[Any, Any]) -> float:
    return result.token_usage.get("total_tokens", 0) / 1000


@traced
async def watched(number: int) -> str:
    return str(number)


@traced(name="named", attributes={"number": str})
def watched_by_name(number: int) -> str:
    return str(number)


@traced
class Decorated:
    def method(self) -> bytes:
        return b""


async def instrumenting() -> None:
    assert_type(await watched(1), str)
    assert_type(watched_by_name(1), str)
    assert_type(Decorated().method(), bytes)
    instrument_class(Decorated, include="m*").undo()
    instrument("asyncio")
    uninstrument()
    assert_type(instrumented(), tuple[str, ...])


async def processing() -> None:
    async with ParallelBatchProcessor[str, int, bytes](
        config=ProcessorConfig(max_workers=2), guard_rails=GuardRails(max_cost=1, cost=price)
    ) as processor:
        assert_type(processor, ParallelBatchProcessor[str, int, bytes])
        await processor.add_work(LLMWorkItem("a", Count(), "text", b"context"))
        assert_type(await processor.process_all(), BatchResult[int, bytes])
        async for result in processor:
            assert_type(result, WorkItemResult[int, bytes])
            assert_type(result.output, int | None)
            assert_type(result.context, bytes | None)
