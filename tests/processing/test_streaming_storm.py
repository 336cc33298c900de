"""Everything at once in a stream: who adds, who takes, and who ends it, at any moment."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from spanloom.processing import FixedDelayStrategy, GuardRails, LLMWorkItem, RetryConfig, WorkItemResult
from tests.processing.test_storm import Layer, Moody, Strange
from tests.processing.work import Processor, Watcher, config, run


class Stream:
    """A stream with producers and consumers that do something else with each seed.

    Attributes:
        added: Ids of the items, in order.
        taken: Ids of the results that somebody got.
        reports: What the progress callback was told.
        watcher: An observer.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._patience = dice.choice((None, None, 0, 3, 10))
        self._ending = dice.choice(("none", "none", "shutdown", "no consumer", "no producer"))
        self._strategies = [Moody(dice) for _ in range(3)]
        self.added: list[str] = []
        self.taken: list[str] = []
        self.reports: list[tuple[int, int]] = []
        self.watcher = Watcher()
        self.processor = Processor(
            config=config(
                dice.choice((1, 3, 20)),
                timeout_per_item=20,
                max_queue_size=dice.choice((0, 1, 5)),
                max_requests_per_minute=dice.choice((None, 60, 5)),
                retry=RetryConfig(initial_wait=0.5),
            ),
            guard_rails=GuardRails(
                item_timeout=dice.choice((None, 30)),
                batch_timeout=dice.choice((None, 200)),
                max_errors=dice.choice((None, {"logic_error": 5})),
                max_cost=dice.choice((None, 30)),
                cost=lambda result: 1.0,
            ),
            ordered=dice.random() < 0.5,
            middlewares=[Layer(dice)],
            observers=[Strange(dice), self.watcher],
            rate_limit_strategy=FixedDelayStrategy(3, 0.1),
            progress_callback=self._report,
            post_processor=self._post_process,
        )

    @property
    def takes_all(self) -> bool:
        """Whether all results are to be taken."""
        return self._patience is None and self._ending in ("none", "no producer")

    async def _report(self, completed: int, total: int, item_id: str) -> None:
        self.reports.append((completed, total))
        await asyncio.sleep(self._dice.choice((0, 7, 7)))

    def _post_process(self, result: WorkItemResult[Any, Any]) -> None:
        if self._dice.random() < 0.1:
            raise self._dice.choice((ValueError(), asyncio.CancelledError()))

    async def _add(self, item_id: str) -> None:
        item = LLMWorkItem[str, Any, Any](item_id, self._dice.choice(self._strategies), item_id)
        await self.processor.add_work(item)
        self.added.append(item_id)

    async def _produce(self, name: int) -> None:
        for number in range(self._dice.choice((1, 5, 20))):
            try:
                await self._add(f"{name}-{number}")
            except RuntimeError:
                return  # the batch was stopped
            if self._dice.random() < 0.5:
                await asyncio.sleep(self._dice.random() * 3)

    async def _produce_all(self) -> None:
        await asyncio.gather(*map(self._produce, range(3)))
        await self.processor.finish()

    async def _consume(self) -> None:
        async for result in self.processor:
            self.taken.append(result.item_id)
            if self._patience is not None and len(self.taken) >= self._patience:
                return
            if self._dice.random() < 0.3:
                await asyncio.sleep(self._dice.random() * 5)

    async def run(self) -> dict[str, Any]:
        """Run it to its end; return the statistics."""
        async with self.processor as processor:
            for number in range(self._dice.choice((0, 0, 8))):
                await self._add(f"before-{number}")
            await processor.start()
            producer = asyncio.create_task(self._produce_all())
            consumers = [asyncio.create_task(self._consume()) for _ in range(self._dice.choice((1, 2, 3)))]
            if self._ending != "none":
                await asyncio.sleep(self._dice.random() * 20)
            if self._ending == "shutdown":
                await processor.shutdown()
            elif self._ending == "no consumer":
                consumers[0].cancel()
            elif self._ending == "no producer":
                producer.cancel()
                await asyncio.wait([producer])
                await processor.finish()
            outcomes = await asyncio.gather(*consumers, return_exceptions=True)
        outcomes += await asyncio.gather(producer, return_exceptions=True)
        assert {type(one) for one in outcomes} <= {type(None), asyncio.CancelledError}
        return await processor.get_stats()


@pytest.mark.parametrize("seed", range(60))
def test_every_item_of_a_stream_has_one_end_whatever_happens(seed: int) -> None:
    """Nobody waits for ever, no result comes twice, none is lost that is waited for, and progress ends at n of n."""
    stream = Stream(random.Random(seed))
    stats = run(asyncio.wait_for(stream.run(), 100_000))
    assert stream.watcher.ends() == dict.fromkeys(stream.added, 1)
    assert stats["processed"] == stats["total"] == len(stream.added)
    assert stats["processed"] == stats["succeeded"] + stats["failed"]
    assert len(set(stream.taken)) == len(stream.taken)
    if stream.takes_all:
        assert sorted(stream.taken) == sorted(stream.added)
    assert stream.reports[-1:] in ([], [(len(stream.added), len(stream.added))])
