"""Items and results as streams: what holds back whom."""

from __future__ import annotations

import asyncio

import pytest

from spanloom.processing import LLMWorkItem
from tests.processing.work import Calls, Processor, Watcher, add, config, run


def test_results_come_while_items_are_added() -> None:
    """A producer adds and finishes; the loop ends after the last result."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        calls = Calls()

        async def produce(processor: Processor) -> None:
            for number in range(5):
                await add(processor, calls, str(number))
                await asyncio.sleep(10)
            await processor.finish()

        async with Processor(config=config(2)) as processor:
            await processor.start()
            producer = asyncio.create_task(produce(processor))
            got = [(round(loop.time()), result.item_id) async for result in processor]
            await producer
            with pytest.raises(StopAsyncIteration):
                await anext(processor)
        assert got == [(1, "0"), (11, "1"), (21, "2"), (31, "3"), (41, "4")]

    run(scenario())


def test_results_that_nobody_takes_hold_back_the_calls() -> None:
    """And they the queue, and it who adds: everything in between is bounded."""

    async def scenario() -> None:
        added: list[int] = []
        calls = Calls()

        async def produce(processor: Processor) -> None:
            for number in range(100):
                await add(processor, calls, str(number))
                added.append(number)
            await processor.finish()

        async with Processor(config=config(3, max_queue_size=4)) as processor:
            await processor.start()
            producer = asyncio.create_task(produce(processor))
            await asyncio.sleep(1000)
            assert len(calls.made) == 3
            assert len(added) <= 3 + 4 + 1
            results = [result.item_id async for result in processor]
            await producer
        assert results == [str(number) for number in range(100)]

    run(scenario())


def test_a_bounded_queue_never_blocks_before_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would take anything out: what is added then is not bounded, which is said once."""

    async def scenario() -> int:
        async with Processor(config=config(1, max_queue_size=2)) as processor:
            await asyncio.wait_for(add(processor, Calls(), *"abcdefgh"), 1)
            return (await processor.process_all()).succeeded

    assert run(scenario()) == 8
    assert caplog.text.count("more than max_queue_size (2) items before the start") == 1


def test_who_waits_for_room_is_told_of_the_end() -> None:
    """Cancelled, it has added nothing; when the batch ends, it gets an error and does not wait for ever."""

    async def scenario() -> None:
        calls = Calls(seconds=100)
        async with Processor(config=config(1, max_queue_size=1)) as processor:
            await processor.start()
            waiting = [asyncio.create_task(add(processor, calls, letter)) for letter in "abcdef"]
            await asyncio.sleep(1)
            assert [task.done() for task in waiting] == [True, True, False, False, False, False]
            waiting[2].cancel()
            await asyncio.sleep(1)
            await processor.shutdown()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(one) for one in outcomes[2:]] == [asyncio.CancelledError, *[RuntimeError] * 3]
            assert (await processor.get_stats())["total"] == 2

    run(scenario())


def test_leaving_early_cancels_what_runs() -> None:
    """A loop that is broken off, or whose body raises, leaves no task, and each item has one end."""
    watcher = Watcher()

    async def scenario() -> None:
        calls = Calls()
        with pytest.raises(ZeroDivisionError):
            async with Processor(config=config(2), observers=[watcher]) as processor:
                await add(processor, calls, *"abcdef")
                await processor.start()
                await processor.finish()
                async for _ in processor:
                    raise ZeroDivisionError
        assert (calls.running, calls.cleaned) == (0, 1)

    run(scenario())
    assert watcher.ends() == dict.fromkeys("abcdef", 1)


def test_waiting_for_a_result_can_be_broken_off() -> None:
    """A timeout around the next result ends neither the batch nor loses a result."""

    async def scenario() -> list[str]:
        async with Processor(config=config(1)) as processor:
            await add(processor, Calls(seconds=10), *"abc")
            await processor.start()
            await processor.finish()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(processor), 5)
            return [result.item_id async for result in processor]

    assert run(scenario()) == ["a", "b", "c"]


@pytest.mark.parametrize("ordered", [False, True])
def test_several_can_take_results_at_the_same_time(ordered: bool) -> None:
    """Each result goes to one of them, and all of them see the end."""

    async def scenario() -> None:
        async with Processor(config=config(2), ordered=ordered) as processor:
            await add(processor, Calls(), *"abcdefg")
            await processor.start()
            await processor.finish()

            async def take() -> list[str]:
                return [result.item_id async for result in processor]

            taken = await asyncio.gather(take(), take(), take())
        assert sorted(one for each in taken for one in each) == list("abcdefg")

    run(scenario())


def test_process_all_takes_the_rest_of_a_started_batch() -> None:
    """It finishes the input, and returns the results that nobody has taken yet."""

    async def scenario() -> None:
        async with Processor(config=config(1)) as processor:
            await processor.start()
            await add(processor, Calls(), *"abc")
            assert (await anext(processor)).item_id == "a"
            rest = await processor.process_all()
            assert [result.item_id for result in rest.results] == ["b", "c"]
            with pytest.raises(RuntimeError, match="runs one batch"):
                await processor.start()

    run(scenario())


def test_nothing_can_be_added_after_finish() -> None:
    """The error says so."""

    async def scenario() -> None:
        async with Processor(config=config(1)) as processor:
            await processor.start()
            await processor.finish()
            with pytest.raises(RuntimeError, match=r"Cannot add work after finish\(\)"):
                await processor.add_work(LLMWorkItem("x", Calls()))

    run(scenario())
