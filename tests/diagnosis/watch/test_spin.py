"""BUSY_SPIN on a machine that has other things to do: few looks, at many places, are no reason to accuse anybody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from spanloom.diagnosis.watch import spin
from spanloom.diagnosis.watch.atwork import at_work

PLACES = 3


async def parse(done: list[int]) -> None:
    await asyncio.sleep(0)


async def send(done: list[int]) -> None:
    await asyncio.sleep(0)


async def count(done: list[int]) -> None:
    await asyncio.sleep(0)


async def serve(done: list[int]) -> None:
    """Do something in every turn, each time at another place."""
    while True:
        for step in (parse, send, count):
            done.append(len(done))
            await step(done)


async def ask(done: list[int]) -> None:
    """Ask again in every turn, each time at another place."""
    while True:
        for step in (parse, send, count):
            await step(done)


async def spins(work: Callable[[list[int]], Awaitable[None]], looks: int) -> bool:
    """Tell whether a task is said to spin after that many looks, one in each turn of the loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, asyncio.BaseEventLoop)
    task = asyncio.ensure_future(work([]))
    seen = spin._Watched(task)
    for _ in range(looks):
        await asyncio.sleep(0)
        _, handle = at_work(loop, threading.get_ident())[id(task), 0]
        spin._take(seen, handle, task, threading.get_ident())
        del handle
    found = spin._spins(seen)
    task.cancel()
    return found


@pytest.mark.parametrize("looks", range(spin.MIN_LOOKS, 4 * PLACES))
async def test_who_gets_on_does_not_spin_however_few_looks_there_are(looks: int) -> None:
    """Changes are a share of what could show one: what has been seen at the same place before."""
    assert not await spins(serve, looks)
    assert await spins(ask, looks)
