"""A checkpoint and the event loop: whatever results take to be stored, the loop goes on turning."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanloom import Checkpoint, async_map

JOBS = 100
WORK_S = 0.005
TURNS = JOBS // 5  # 49 to 108 are seen; at most ten if the thread never gives way


@pytest.fixture
def _nobody_gives_way() -> Iterator[None]:
    """Have the interpreter take the GIL from nobody who does not let go of it: what a turn waits for shows then."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(60.0)
    yield
    sys.setswitchinterval(before)


def work() -> None:
    """Take some time with the GIL held."""
    until = time.thread_time() + WORK_S
    while time.thread_time() < until:
        pass


class Laborious:
    def encode(self, value: object) -> str:
        work()
        return str(value)

    def decode(self, data: str) -> int:
        return int(data)


class LaboriousToRead(Laborious):
    def encode(self, value: object) -> str:
        return str(value)

    def decode(self, data: str) -> int:
        if reading:
            work()
        return int(data)


reading: list[bool] = []


async def turns(path: Path, codec: Laborious) -> int:
    """Return how often the loop turned in a batch of which all results are stored, or found, at once."""
    count, over = 0, False

    async def turn() -> None:
        nonlocal count
        while not over:
            count += 1
            await asyncio.sleep(0.001)

    async def one(number: int) -> int:
        return number

    turning = asyncio.ensure_future(turn())
    assert await async_map(
        one, list(range(JOBS)), checkpoint=Checkpoint(path, version="1", codec=codec)
    ) == list(range(JOBS))
    over = True
    await turning
    return count


@pytest.mark.usefixtures("_nobody_gives_way")
async def test_the_loop_turns_while_results_are_stored(tmp_path: Path) -> None:
    """A hundred results that take 5 ms each to be written: the thread lets the loop go on between them."""
    assert await turns(tmp_path / "results.db", Laborious()) > TURNS


@pytest.mark.usefixtures("_nobody_gives_way")
async def test_the_loop_turns_while_results_are_found(tmp_path: Path) -> None:
    """The same of results that take 5 ms each to be read."""
    await turns(tmp_path / "results.db", LaboriousToRead())
    reading.append(True)
    try:
        assert await turns(tmp_path / "results.db", LaboriousToRead()) > TURNS
    finally:
        reading.clear()
