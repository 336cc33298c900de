"""BUSY_SPIN on a machine that has other things to do: few looks, at many places, are no reason to accuse anybody."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from spanloom.diagnosis.watch import progress, pulse, spin
from spanloom.diagnosis.watch.atwork import at_work
from spanloom.diagnosis.watch.loops import LoopNow

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


NUMBERS = itertools.count()


async def following() -> int:
    await asyncio.sleep(0)
    return next(NUMBERS)


async def hand_on(number: int) -> None:
    await asyncio.sleep(0)


async def receive(done: list[int]) -> None:
    """Take one number after the other, and have nothing else to show for it."""
    del done
    while True:
        number = await following()
        await hand_on(number)


async def try_again(done: list[int]) -> None:
    """Count what has been tried, and take nothing."""
    del done
    tries = 0
    while True:
        await asyncio.sleep(0)
        tries += 1


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


async def takes(
    one: Awaitable[int], two: Awaitable[tuple[int, tuple[int, int]]], rest: AsyncIterator[int]
) -> int:
    """Assign what has been awaited, and other things."""
    counted = 0
    async for step in rest:
        counted += step
    first, (second, _) = await two
    told: int = await one
    str(counted)
    await asyncio.sleep(0)
    other = first + second + told
    return other + await one


def test_the_names_that_get_what_is_awaited_are_known_in_every_python() -> None:
    """The instructions that an await ends in differ from version to version."""
    assert progress._received(takes.__code__) == {"step", "first", "second", "_", "told"}


async def test_what_is_awaited_is_no_count_of_tries() -> None:
    """Two that hand one number after the other to and fro do nothing but that, and do not spin."""
    assert not await spins(receive, 20)
    assert await spins(try_again, 20)


def test_a_look_too_soon_after_another_does_not_say_that_a_loop_rests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a loop that shows nothing of its turns, it is its thread's use of the machine that tells."""
    used = iter([0.0, 0.1, 0.2, 0.3])
    monkeypatch.setattr(pulse, "used_by", lambda _: pulse.Used(next(used), 0.0))
    loop = asyncio.new_event_loop()
    now = LoopNow(loop, threading.get_ident(), None, 0, True, None, None, False)
    seen = pulse.Pulse(now, 0.0)
    for at_s in (0.1, 0.2, 0.205, 0.3, 0.301):
        seen.look(now, at_s, sys._getframe())
    assert seen.restless_looks == 2
    assert seen.rested_s == 0.1  # nobody knew then what its thread had used before
    loop.close()


async def test_a_look_before_which_a_task_could_not_run_is_none() -> None:
    """On a busy machine, it is at the same step as before; else it is one that computes."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(ask([]))
    watched: dict[tuple[int, int], spin._Watched] = {}
    looks = [
        spin._look_at(loop, threading.get_ident(), watched, had_time=had_time)
        for had_time in (False, False, True)
    ]
    task.cancel()
    assert looks == [(True, True), (True, False), (True, True)]
    assert max(seen.looks for seen in watched.values()) == 2
