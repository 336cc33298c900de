"""A run with everything in it: all kinds of events, and a batch that is divided."""

from __future__ import annotations

import asyncio

from spanloom import async_map, get_callback_manager
from tests.jaeger.pipeline import one_round

__all__ = ["JOBS", "everything"]

JOBS = 1_500


async def rounds(count: int = 3) -> None:
    """Run all that a pipeline can do, so many times."""
    for number in range(count):
        await one_round(number)


async def everything() -> None:
    """Run all that a pipeline can do, twice, and a batch that does not fit into one trace."""

    async def one(number: int) -> int:
        await asyncio.sleep(0)
        if number % 100 == 7:
            raise ValueError(f"number {number}")
        return number

    await rounds(2)
    with get_callback_manager().as_trace("large"):
        await async_map(one, range(JOBS), limit=16, on_error="return", desc="large")
