"""Where what a frame holds was taken, and how a ring of namesakes is told."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

from spanloom import why
from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.blocks import with_lines


async def nested(outer: Any, inner: Any) -> None:
    async with outer:  # + 1
        try:
            with nullcontext(), nullcontext():  # + 3, twice
                async with inner:  # + 4
                    for _ in range(2):
                        try:
                            await asyncio.sleep(0)
                        finally:
                            async with inner:  # + 9
                                await asyncio.sleep(0)
        except ValueError:
            with nullcontext():
                await asyncio.sleep(0)
            raise
        await asyncio.sleep(0)
    async with outer:  # + 16
        await asyncio.sleep(0)


def test_the_statements_around_an_await_are_read_from_the_exception_table() -> None:
    """Outermost first; a ``finally`` or a loop between them hides none, and a handler that is not entered adds none."""
    bytecode = Bytecode()
    first = nested.__code__.co_firstlineno
    coroutine = nested(nullcontext(), nullcontext())
    seen = []
    while True:
        try:
            coroutine.send(None)
        except StopIteration:
            break
        seen.append(
            [line - first for line in with_lines(bytecode, nested.__code__, coroutine.cr_frame.f_lasti)]
        )
    turn = [[1, 3, 3, 4], [1, 3, 3, 4, 9]]
    assert seen == [*turn, *turn, [1], [16]]


async def transfer(source: asyncio.Lock, target: asyncio.Lock) -> None:
    async with source:  # + 1
        await asyncio.sleep(0.01)
        async with target:  # + 3
            pass


async def test_namesakes_in_a_ring_are_told_apart_and_where_they_took_their_locks() -> None:
    """Two tasks of one function have their own names, and the lock was taken where its ``async with`` begins."""
    rent, savings = asyncio.Lock(), asyncio.Lock()
    tasks = [asyncio.create_task(transfer(*locks)) for locks in ((rent, savings), (savings, rent))]
    await asyncio.sleep(0.05)
    findings = await asyncio.to_thread(why)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    (ring,) = [finding for finding in findings if finding.code == "LOCK_CYCLE"]
    first = transfer.__code__.co_firstlineno
    for task in tasks:
        assert (
            f"`transfer` ({task.get_name()}) wants lock `target` at test_blocks.py:{first + 3}"
            in ring.message
        )
        assert f"`transfer` ({task.get_name()}) holds (taken at test_blocks.py:{first + 1})" in ring.message
