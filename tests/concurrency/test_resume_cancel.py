"""A cancel in every turn of the event loop of a batch with a checkpoint: nothing is left behind, and nothing lost."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanloom import CallbackManager, Checkpoint, FixedLimiter, async_map, run_jobs, use_callback_manager
from tests.concurrency.stepped import Listener, Turns

KINDS = ["task", *(["eager"] if sys.version_info >= (3, 12) else [])]


class SteppedLoop(asyncio.SelectorEventLoop):
    """Calls a function at the beginning of one of its turns. Its clock is real: a thread takes part."""

    def __init__(self, turn: int | None, call: Callable[[], object]) -> None:
        super().__init__()
        selector: Any = self._selector  # type: ignore[attr-defined]  # private
        self.turns = Turns(self, selector.select, turn, call)
        selector.select = self.turns.select


class Acknowledged(Listener):
    """Notes which jobs were said to have ended well, too."""

    def __init__(self) -> None:
        super().__init__()
        self.acknowledged: set[tuple[str, int]] = set()

    def on_event_end(self, event: Any) -> None:
        super().on_event_end(event)
        if event.type == "job" and event.status == "ok":
            self.acknowledged.add((event.name.rpartition(".")[2], event.job_index))


class Scenario:
    """Two batches with checkpoints, one in each job of the other's, and what is alive in them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.limiter = FixedLimiter(2)
        self.alive = 0
        self.ran: Counter[tuple[str, int]] = Counter()

    async def leaf(self, number: int) -> int:
        self.ran["leaf", number] += 1
        self.alive += 1
        try:
            await asyncio.sleep(0)
            return number
        finally:
            self.alive -= 1

    async def branch(self, number: int) -> list[int]:
        self.alive += 1
        try:
            items = range(10 * number, 10 * number + 3)
            return await async_map(
                self.leaf, iter(items), limit=2, checkpoint=Checkpoint(self.file, grace_s=None)
            )
        finally:
            self.alive -= 1

    async def main(self) -> list[Any]:
        checkpoint = Checkpoint(self.file)
        first = await async_map(self.branch, range(3), limit=2, checkpoint=checkpoint)
        jobs = [self.leaf(100 + number) for number in range(4)]
        keyed = Checkpoint(self.file, key=range(100, 104), version="1")
        return [first, await run_jobs(jobs, workers=self.limiter, checkpoint=keyed)]


EXPECTED = [[[0, 1, 2], [10, 11, 12], [20, 21, 22]], [100, 101, 102, 103]]


class Sweep:
    """One run of the scenario with at most one cancel, and all that must hold after it."""

    def __init__(self, scenario: Scenario, kind: str, turn: int | None = None) -> None:
        self.listener = Acknowledged()
        self.hit = False
        complaints: list[Any] = []
        manager = CallbackManager([self.listener])
        loop = SteppedLoop(turn, self._cancel)
        loop.set_exception_handler(lambda loop, context: complaints.append(context))
        if kind == "eager":
            loop.set_task_factory(asyncio.eager_task_factory)
        try:
            with use_callback_manager(manager):
                self.task = loop.create_task(scenario.main())
            left = loop.run_until_complete(self._watch())
        finally:
            loop.close()
        self.turns = loop.turns.count
        assert (left, complaints, scenario.alive, manager.in_flight()) == (0, [], 0, [])
        assert self.listener.started == self.listener.ended
        assert set(self.listener.ended.values()) <= {1}
        assert (scenario.limiter.in_use, scenario.limiter.waiting) == (0, 0)
        stats = manager.stats()
        assert (stats.produced, stats.open) == (stats.delivered, 0)

    def _cancel(self) -> None:
        self.hit = not self.task.done()
        self.task.cancel()

    async def _watch(self) -> int:
        await asyncio.wait([self.task])
        return len(asyncio.all_tasks() - {asyncio.current_task()})


def stored(file: Path) -> int:
    connection = sqlite3.connect(file)
    try:
        (count,) = connection.execute("SELECT count(*) FROM results").fetchone()
        return int(count)
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_cancel_in_any_turn_loses_nothing(kind: str, tmp_path: Path, no_warnings: None) -> None:
    """Whenever the batch is cancelled, all of it ends, and the next run does what was not acknowledged, and no more."""
    turn = 0
    hit = True
    while hit:
        turn += 1
        scenario = Scenario(tmp_path / f"{turn}.db")
        sweep = Sweep(scenario, kind, turn)
        hit = sweep.hit
        assert sweep.task.cancelled() == hit
        if hit:
            ran = scenario.ran.copy()
            acknowledged = {index for name, index in sweep.listener.acknowledged if name == "branch"}
            again = Sweep(scenario, kind)
            assert again.task.result() == EXPECTED
            for number in acknowledged:
                for leaf in range(10 * number, 10 * number + 3):
                    assert scenario.ran["leaf", leaf] == ran["leaf", leaf] == 1
            assert max(scenario.ran.values()) <= 2
        assert stored(scenario.file) == 16
    assert turn > 20  # every turn that there was
