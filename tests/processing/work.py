"""Strategies, observers and a way to run them on a virtual clock, for tests of the processor."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from spanloom.processing import (
    BaseObserver,
    LLMCallStrategy,
    LLMWorkItem,
    ParallelBatchProcessor,
    ProcessingEvent,
    ProcessorConfig,
    RetryConfig,
    RetryState,
    TokenUsage,
)
from spanloom.testing import virtual_clock

T = TypeVar("T")
Processor = ParallelBatchProcessor[str, Any, Any]
TERMINAL = {ProcessingEvent.ITEM_COMPLETED, ProcessingEvent.ITEM_FAILED}


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run on a virtual clock; nothing may be left running."""

    async def checked() -> T:
        try:
            return await coroutine
        finally:
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            assert left == []

    with virtual_clock() as runner:
        return runner.run(checked())


def config(workers: int = 3, **more: Any) -> ProcessorConfig:
    """Return a configuration with quick retries."""
    return ProcessorConfig(max_workers=workers, **{"retry": RetryConfig(jitter=False), **more})


class Calls(LLMCallStrategy[Any]):
    """Does what a function says, and remembers who was called."""

    def __init__(self, answer: Callable[[str, int], Any] | None = None, seconds: float = 1.0) -> None:
        self.answer = answer
        self.seconds = seconds
        self.made: list[tuple[str, int]] = []
        self.at: list[float] = []
        self.prepared = self.cleaned = 0
        self.running = self.most = 0

    async def prepare(self) -> None:
        self.prepared += 1
        await asyncio.sleep(0.1)

    async def execute(
        self, prompt: str, attempt: int, timeout: float, state: RetryState | None = None
    ) -> tuple[Any, TokenUsage]:
        self.made.append((prompt, attempt))
        self.at.append(asyncio.get_running_loop().time())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.running -= 1
        answer = prompt.upper() if self.answer is None else self.answer(prompt, attempt)
        if isinstance(answer, BaseException):
            raise answer
        return answer, {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}

    async def cleanup(self) -> None:
        self.cleaned += 1


class Watcher(BaseObserver):
    """Remembers all that it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[ProcessingEvent, dict[str, Any]]] = []

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        self.told.append((event, data))

    def names(self) -> list[str]:
        return [event.name for event, _ in self.told]

    def ends(self) -> Counter[str]:
        """Return how many ends each item had."""
        return Counter(data["item_id"] for event, data in self.told if event in TERMINAL)

    def failures(self) -> dict[str, str]:
        return {
            data["item_id"]: data["error_type"]
            for event, data in self.told
            if event is ProcessingEvent.ITEM_FAILED
        }


async def add(processor: Processor, strategy: LLMCallStrategy[Any], *prompts: str) -> None:
    """Add an item for each prompt, called like it."""
    for prompt in prompts:
        await processor.add_work(LLMWorkItem(prompt, strategy, prompt))
