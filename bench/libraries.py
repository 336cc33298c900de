"""What the events of other libraries cost: CPU time of a call that is patched, beside the same call that is not.

Usage: python -m bench.libraries

The libraries are those of the test dependencies. Bare and patched calls take turns in one process; shown are medians of
the rounds, in microseconds a call, and the ratio. The work itself is nothing, so these are the ratios at their worst.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from statistics import median

import aiometer
import anyio
import backoff
import httpx
import stamina
import tenacity
from tqdm.asyncio import tqdm

import spanloom

ROUNDS = 15
CALLS = 300

Work = Callable[[int], Awaitable[object]]


async def nothing() -> None:
    await asyncio.sleep(0)


async def nothing_to(_: object) -> None:
    await asyncio.sleep(0)


def repeated(call: Callable[[], Awaitable[object]]) -> Work:
    async def work(calls: int) -> None:
        for _ in range(calls):
            await call()

    return work


async def in_group(calls: int) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(calls):
            group.start_soon(nothing)


async def by_aiometer(calls: int) -> None:
    await aiometer.run_on_each(nothing_to, range(calls), max_at_once=10)


async def by_tqdm(calls: int) -> None:
    await tqdm.gather(*(nothing() for _ in range(calls)), disable=True)


def works(client: httpx.AsyncClient) -> dict[str, tuple[Work, Work]]:
    """Return what is run, bare and patched: for all but backoff, the same."""
    decorate = backoff.on_exception(backoff.constant, OSError)
    spanloom.instrument("backoff")
    decorate_patched = backoff.on_exception(backoff.constant, OSError)
    spanloom.uninstrument("backoff")
    same = {
        "tenacity": repeated(tenacity.retry(nothing)),
        "stamina": repeated(stamina.retry(on=OSError)(nothing)),
        "httpx": repeated(lambda: client.get("http://127.0.0.1/")),
        "anyio": in_group,
        "aiometer": by_aiometer,
        "tqdm": by_tqdm,
    }
    backoffs = repeated(decorate(nothing)), repeated(decorate_patched(nothing))
    return {"backoff": backoffs, **{name: (work, work) for name, work in same.items()}}


async def timed(work: Work) -> float:
    """Return microseconds of CPU time a call."""
    gc.collect()
    gc.disable()
    begin = time.process_time()
    try:
        await work(CALLS)
        return (time.process_time() - begin) / CALLS * 1e6
    finally:
        gc.enable()


async def main() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    async with httpx.AsyncClient(transport=transport) as client:
        print(f"{'a call of':10} {'bare us':>8} {'patched':>8} {'more':>6} {'ratio':>6}")
        for name, (bare, patched) in works(client).items():
            rounds: list[tuple[float, float]] = []
            for _ in range(ROUNDS):
                alone = await timed(bare)
                spanloom.instrument(name)
                rounds.append((alone, await timed(patched)))
                spanloom.uninstrument(name)
            alone = median(one for one, _ in rounds)
            ratio = median(other / one for one, other in rounds)
            print(f"{name:10} {alone:8.1f} {alone * ratio:8.1f} {alone * (ratio - 1):6.1f} {ratio:6.2f}")


if __name__ == "__main__":
    asyncio.run(main())
