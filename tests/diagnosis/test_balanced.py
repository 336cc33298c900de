"""Which functions give back only what they have taken before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from spanloom.diagnosis.balanced import takes_first

Give = Callable[..., Any]


class Pool:
    """What the functions below are about."""

    permits = asyncio.Semaphore(1)
    others = asyncio.Semaphore(1)


async def returns_early(pool: Pool, text: str) -> None:
    await pool.permits.acquire()
    if not text:
        return
    pool.permits.release()


async def finally_gives(pool: Pool) -> None:
    await pool.permits.acquire()
    try:
        await asyncio.sleep(0)
    finally:
        pool.permits.release()


async def in_a_loop(pool: Pool) -> None:
    for _ in range(3):
        permits = pool.permits
        await permits.acquire()
        permits.release()


async def gives_by_timer(pool: Pool) -> None:
    await pool.permits.acquire()
    asyncio.get_running_loop().call_later(1, pool.permits.release)


async def by_a_function_of_its_own(pool: Pool) -> None:
    async def inner() -> None:
        await pool.permits.acquire()
        pool.permits.release()

    await inner()


async def only_gives(pool: Pool) -> None:
    pool.permits.release()


async def takes_sometimes(pool: Pool, full: bool) -> None:
    if not full:
        await pool.permits.acquire()
    pool.permits.release()


async def takes_in_the_try(pool: Pool) -> None:
    try:
        await asyncio.sleep(0)
        await pool.permits.acquire()
    finally:
        pool.permits.release()


async def gives_another(pool: Pool) -> None:
    await pool.permits.acquire()
    pool.others.release()


async def gives_first(pool: Pool) -> None:
    while True:
        pool.permits.release()
        await pool.permits.acquire()


async def gives_any(pools: list[Pool]) -> None:
    await pools[0].permits.acquire()
    pools[1].permits.release()


async def by_number(pools: list[Pool], number: int) -> None:
    await pools[number].permits.acquire()
    await asyncio.sleep(0)
    pools[number].permits.release()


async def by_another_number(pools: list[Pool], number: int) -> None:
    await pools[number].permits.acquire()
    number += 1
    pools[number].permits.release()


async def later(pool: Pool) -> Give:
    await pool.permits.acquire()

    def back() -> None:
        pool.permits.release()

    return back


@pytest.mark.parametrize(
    "function",
    [returns_early, finally_gives, in_a_loop, gives_by_timer, by_a_function_of_its_own, by_number],
)
def test_who_takes_on_every_way_before_it_gives_ends_no_wait(function: Any) -> None:
    """Called anew, it would have to wait itself."""
    assert takes_first(function.__code__)


@pytest.mark.parametrize(
    "function",
    [
        only_gives,
        takes_sometimes,
        takes_in_the_try,
        gives_another,
        gives_first,
        gives_any,
        by_another_number,
        later,
    ],
)
def test_who_may_give_what_it_has_not_taken_may_end_a_wait(function: Any) -> None:
    """One way without a take is enough, and so is what has no name of its own."""
    assert not takes_first(function.__code__)
