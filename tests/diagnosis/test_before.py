"""Whether a suspended frame can have awaited anything before."""

from __future__ import annotations

import dis
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from spanloom.diagnosis.before import has_awaited


@types.coroutine
def stop() -> Generator[None, None, bool]:
    """Suspend whoever awaits it."""
    yield
    return True


async def nothing() -> bool:
    return False


@asynccontextmanager
async def stopping() -> Any:
    await stop()
    yield


async def at_once() -> None:
    await stop()
    await nothing()


async def enters_at_once() -> None:
    async with stopping():
        await nothing()


async def after_another() -> None:
    await nothing()
    await stop()


async def in_a_loop() -> None:
    while True:
        await stop()


async def in_a_loop_with_an_end() -> None:
    turns = 2
    while turns:
        turns -= 1
        await stop()


async def in_a_handler() -> None:
    try:
        await nothing()
    finally:
        await stop()


@pytest.mark.parametrize(
    ("body", "before"),
    [
        (at_once, False),
        (enters_at_once, False),
        (after_another, True),
        (in_a_loop, True),
        (in_a_loop_with_an_end, True),
        (in_a_handler, True),
    ],
)
def test_what_was_awaited_before_is_seen(body: Callable[[], Coroutine[Any, Any, None]], before: bool) -> None:
    """One earlier in the code, or in an earlier turn of a loop, may have been; the present one is none."""
    coroutine = body()
    coroutine.send(None)
    frame = coroutine.cr_frame
    assert has_awaited(list(dis.get_instructions(frame.f_code)), frame.f_lasti) is before
    coroutine.close()
