"""What the blocks are about that a suspended frame is in."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import wrapt

from spanloom.concurrency.entered import exits_of


class Pool:
    """A manager that enters another of its kind on its way in and out."""

    def __init__(self, inner: Pool | None = None) -> None:
        self.inner = inner

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(self, *raised: object) -> None:
        if self.inner is not None:
            async with self.inner:
                await asyncio.sleep(0)


class Patched(Pool):
    """One whose end was patched, as instrumentation does it."""


wrapt.wrap_function_wrapper(Patched, "__aexit__", lambda wrapped, _, args, kwargs: wrapped(*args, **kwargs))


@contextlib.asynccontextmanager
async def made() -> AsyncIterator[None]:
    yield


async def in_one(manager: Any) -> None:
    async with manager:
        await asyncio.sleep(0)


async def in_a_plain_one(manager: Any) -> None:
    with manager:
        await asyncio.sleep(0)


Body = Callable[[Any], Awaitable[None]]


@pytest.mark.parametrize(
    ("body", "make"),
    [
        (in_one, asyncio.Lock),
        (in_one, lambda: asyncio.timeout(None)),
        (in_one, Pool),
        (in_one, Patched),
        (in_one, made),
        (in_a_plain_one, threading.Lock),
        (in_a_plain_one, threading.RLock),
        (in_a_plain_one, contextlib.ExitStack),
    ],
)
async def test_the_manager_of_a_block_is_found(body: Body, make: Callable[[], Any]) -> None:
    """With what is called at its end: a function, one of C, one that was patched."""
    manager = make()
    task = asyncio.ensure_future(body(manager))
    await asyncio.sleep(0)
    (found,) = exits_of(task.get_coro())
    assert found.manager is manager
    assert found.function.__name__ in {"__exit__", "__aexit__"}
    await task


async def test_blocks_are_in_the_order_in_which_they_were_entered() -> None:
    """The outermost first, also where one statement has several."""
    first, second, third = Pool(), asyncio.Lock(), threading.Lock()

    async def body() -> None:
        async with first, second:
            with third:
                await asyncio.sleep(0)

    task = asyncio.ensure_future(body())
    await asyncio.sleep(0)
    assert [end.manager for end in exits_of(task.get_coro())] == [first, second, third]
    await task


async def test_a_method_that_ends_a_block_is_in_none_by_that() -> None:
    """Of a frame that is an ``__aexit__`` itself, only the block inside of it is told."""
    inner = Pool()
    leaving = Pool(inner).__aexit__(None, None, None)
    task = asyncio.ensure_future(leaving)
    await asyncio.sleep(0)
    assert [end.manager for end in exits_of(leaving)] == [inner]
    await task
