"""Of tasks that are gone it is known what was noted when they were made, and what asyncio said of their loss.

That a sentence names them is seen of the programs ``gone_*.py`` of the folder ``watch``.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator

import pytest

from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.budget import Budget
from spanloom.diagnosis.ended import Ended
from spanloom.diagnosis.functions import Functions
from spanloom.diagnosis.history.memory import Memory
from spanloom.diagnosis.history.sites import MAX_NAMES
from spanloom.diagnosis.model import EndedTask
from tests.diagnosis.history.listeners import others_rest


@pytest.fixture
def memory() -> Iterator[Memory]:
    """A memory that listens."""
    found = Memory()
    with others_rest():
        found.start()
        yield found
        found.stop()


async def fail(numbers: list[int]) -> None:
    """Fail, a call below."""
    look_up(numbers)


def look_up(numbers: list[int]) -> None:
    """Raise."""
    numbers.index(7)


async def work() -> None:
    """Do nothing."""


def told_of(memory: Memory, function: str) -> list[EndedTask]:
    """Return what an inquiry tells of the tasks of a function that are gone."""
    ended = Ended(Bytecode(), Budget(10_000), frozenset(), Functions(()))
    ended.remember(memory.gone(), asyncio.all_tasks())
    return [one for one in ended.found if one.function == function]


async def test_a_lost_task_is_known_with_its_error(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    """Its name, its error and where that was raised, and the names in all functions that it came through."""
    caplog.set_level(logging.CRITICAL, logger="asyncio")
    asyncio.get_running_loop().create_task(fail([]), name="search").add_done_callback(lambda _: None)
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    [lost, *_] = told_of(memory, "fail")
    assert (lost.name, lost.error, lost.gone) == ("search", "ValueError", True)
    assert lost.location == f"{__file__}:{look_up.__code__.co_firstlineno + 2}"
    assert {"look_up", "index"} <= lost.names


async def test_a_task_that_exists_is_not_gone(memory: Memory) -> None:
    """Only those are told of that were made and are not found among those that there are."""
    async with asyncio.TaskGroup() as group:
        for n in range(2):
            group.create_task(work(), name=f"ended-{n}")
    kept = asyncio.create_task(work(), name="kept")
    names = [one.name for one in told_of(memory, "work")]
    await kept
    assert names == ["ended-0", "ended-1"]


async def test_names_are_noted_of_the_first_of_a_kind(memory: Memory) -> None:
    """Where there are many, the function says as much."""
    async with asyncio.TaskGroup() as group:
        for n in range(MAX_NAMES + 5):
            group.create_task(work(), name=f"work-{n}")
    assert memory.sites.names[work.__code__] == [f"work-{n}" for n in range(MAX_NAMES)]
