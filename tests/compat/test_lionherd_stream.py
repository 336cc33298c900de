"""`CompletionStream` as lionherd's users know it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from spanloom import CallbackManager, Event, HandlerError, use_callback_manager
from spanloom.compat.lionherd import CompletionStream, move_on_after
from spanloom.testing import capture_events
from tests.compat.running import Jobs, run


def test_results_come_in_order_of_completion_with_their_index() -> None:
    """Each is handed over the moment its job ends."""
    jobs = Jobs()

    async def main() -> list[tuple[int, Any, float]]:
        loop = asyncio.get_running_loop()
        async with CompletionStream([jobs.sleep(delay) for delay in (3, 1, 5, 2)]) as stream:
            return [(index, value, round(loop.time())) async for index, value in stream]

    assert run(main()) == [(1, 1, 1), (3, 2, 2), (0, 3, 3), (2, 5, 5)]


def test_entering_gives_the_stream_itself() -> None:
    """`__aenter__`, `__anext__` and `__aexit__` can be called by hand, and the end is `StopAsyncIteration`."""
    jobs = Jobs()

    async def main() -> None:
        stream = CompletionStream([jobs.sleep(1), jobs.sleep(2)])
        assert await stream.__aenter__() is stream
        assert await stream.__anext__() == (0, 1)
        assert await stream.__anext__() == (1, 2)
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        await stream.__aexit__(None, None, None)
        await stream.__aexit__(None, None, None)

        stream = CompletionStream([jobs.sleep(1), jobs.sleep(20)])
        await stream.__aenter__()
        assert await stream.__anext__() == (0, 1)
        await stream.__aexit__(None, None, None)

    run(main())
    assert jobs.cancelled == [20]


def test_a_limit_is_reached_and_kept() -> None:
    """Exactly `limit` jobs run at once, and all at once without one."""
    jobs = Jobs()

    async def main(limit: int | None) -> int:
        async with CompletionStream([jobs.sleep(1, number) for number in range(9)], limit=limit) as stream:
            return len([pair async for pair in stream])

    assert run(main(3)) == 9
    assert jobs.most == 3
    assert run(main(None)) == 9
    assert jobs.most == 9


def test_no_slot_waits_for_the_consumer() -> None:
    """Jobs go on however slow the body is."""
    jobs = Jobs()

    async def main() -> None:
        async with CompletionStream((jobs.sleep(1, number) for number in range(6)), limit=2) as stream:
            await asyncio.sleep(10)
            assert jobs.ended == list(range(6))
            assert [index async for index, _ in stream] == list(range(6))

    run(main())


def test_leaving_early_cancels_what_runs_and_never_starts_what_waits() -> None:
    """After ``break`` nothing is alive, what waited has not begun, and its coroutine is closed."""
    jobs = Jobs()

    async def main() -> None:
        async with CompletionStream([jobs.sleep(number + 1) for number in range(20)], limit=3) as stream:
            async for _ in stream:
                break
        assert jobs.alive == 0

    run(main())
    assert jobs.started == [1, 2, 3]
    assert jobs.cancelled == [2, 3]


def test_a_failure_is_raised_out_of_the_block() -> None:
    """Results that came before it are handed over first."""
    jobs = Jobs()
    boom = ValueError("boom")
    seen: list[int] = []

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with CompletionStream([jobs.sleep(1), jobs.sleep(2, error=boom), jobs.sleep(3)]) as stream:
                async for index, _ in stream:
                    seen.append(index)
        assert caught.value.exceptions == (boom,)

    run(main())
    assert seen == [0]
    assert jobs.cancelled == [3]


def test_a_failure_that_the_body_did_not_come_to_is_raised() -> None:
    """Neither a ``break`` nor an ``except`` in the body makes a failure disappear."""
    boom = ValueError("boom")

    async def breaking() -> None:
        jobs = Jobs()
        async with CompletionStream([jobs.sleep(1), jobs.sleep(2, error=boom)]) as stream:
            async for _ in stream:
                await asyncio.sleep(5)
                break

    async def excepting() -> None:
        async with CompletionStream([Jobs().sleep(1, error=boom)]) as stream:
            try:
                async for _ in stream:
                    pass
            except Exception:
                await asyncio.sleep(0)

    for scenario in (breaking, excepting):
        with pytest.raises(ExceptionGroup) as caught:
            run(scenario())
        assert caught.value.exceptions == (boom,)


def test_an_error_of_the_body_is_in_the_group_first() -> None:
    """As of a task group: alone, or with the failures of jobs."""
    mine, boom = LookupError("mine"), ValueError("boom")
    jobs = Jobs()

    async def main(others: list[Coroutine[Any, Any, Any]], expected: tuple[Exception, ...]) -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with CompletionStream([jobs.sleep(1), *others]) as stream:
                async for _ in stream:
                    await asyncio.sleep(5)
                    raise mine
        assert caught.value.exceptions == expected

    run(main([jobs.sleep(20)], (mine,)))
    run(main([jobs.sleep(2, error=boom)], (mine, boom)))
    assert jobs.cancelled == [20]


def test_a_cancel_of_the_body_is_raised_bare() -> None:
    """A deadline around the block, or in it, works as anywhere."""
    jobs = Jobs()

    async def main() -> None:
        with move_on_after(2) as scope:
            async with CompletionStream([jobs.sleep(1), jobs.sleep(10)]) as stream:
                async for _ in stream:
                    pass
        assert scope.cancelled_caught

    run(main())
    assert jobs.cancelled == [10]


def test_iterating_outside_of_the_block_is_refused() -> None:
    """Before it and after it, by ``async for`` and by hand; and it is entered only once."""

    async def main() -> None:
        stream = CompletionStream([])
        for _ in range(2):
            with pytest.raises(RuntimeError, match="must be used as async context manager"):
                async for _ in stream:
                    pass
            with pytest.raises(RuntimeError, match="must be used as async context manager"):
                await anext(stream)
            if stream._handed is None:
                async with stream:
                    pass
        with pytest.raises(RuntimeError, match="only once"):
            await stream.__aenter__()

    run(main())


def test_a_stream_that_was_never_entered_is_left_without_a_word() -> None:
    """`__aexit__` alone does nothing."""

    async def main() -> None:
        await CompletionStream([]).__aexit__(None, None, None)

    run(main())


def test_what_the_input_raises_is_raised_in_a_group_like_an_error_of_the_body() -> None:
    """A generator of jobs that fails ends the stream."""
    jobs = Jobs()
    wrong = LookupError("no more")

    def made() -> Iterator[Coroutine[Any, Any, Any]]:
        yield jobs.sleep(1)
        yield jobs.sleep(10)
        raise wrong

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with CompletionStream(made(), limit=2) as stream:
                async for _ in stream:
                    pass
        assert caught.value.exceptions == (wrong,)

    run(main())
    assert jobs.cancelled == [10]


def test_a_handler_that_is_to_be_felt_is_raised_as_it_is() -> None:
    """Under ``raise_handler_errors`` its failure is no job's, wherever it comes to light."""

    class Broken:
        def on_event_end(self, event: Event) -> None:
            if event.type == "batch":
                raise ValueError("in the handler")

    async def main() -> None:
        async with CompletionStream([Jobs().sleep(1), Jobs().sleep(2)]) as stream:
            async for _ in stream:
                break

    with (
        use_callback_manager(CallbackManager([Broken()], raise_handler_errors=True)),
        pytest.raises(HandlerError),
    ):
        run(main())


def test_a_stream_is_a_batch_to_handlers() -> None:
    """Its jobs are events under one batch; those cancelled by leaving it end so."""

    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def main() -> str:
        with capture_events() as captured:
            async with CompletionStream([work(1), work(9)]) as stream:
                async for _ in stream:
                    break
            return captured.tree()

    assert run(main()).splitlines() == [
        "batch work ok",
        "  job work #0 ok",
        "  job work #1 cancelled asyncio.exceptions.CancelledError",
    ]
