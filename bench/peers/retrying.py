"""Retry: a loop written by hand, tenacity and stamina, all around a call that succeeds at once."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

import stamina
import tenacity

from bench.contender import Run, plain
from bench.load import Load

ATTEMPTS = 3
BASE_DELAY_S = 0.1
MAX_DELAY_S = 2.0
JITTER_S = 0.1

Call = Callable[[], Awaitable[int]]


async def retry_by_hand(call: Call) -> int:
    """Call until it succeeds: exponential back-off with jitter, as one writes it without a library."""
    attempt = 0
    while True:
        try:
            return await call()
        except Exception:
            attempt += 1
            if attempt == ATTEMPTS:
                raise
            pause_s = min(MAX_DELAY_S, BASE_DELAY_S * 2**attempt + JITTER_S * random.random())
        await asyncio.sleep(pause_s)


def one_after_another(wrap: Callable[[Call], Call]) -> Run:
    """Make a run that calls the wrapped job 0 `count` times, one after another."""

    async def run(load: Load) -> list[int]:
        call = wrap(partial(load.job, 0))
        return [await call() for _ in range(load.count)]

    return run


def _by_hand(call: Call) -> Call:
    return partial(retry_by_hand, call)


def _tenacity(call: Call) -> Call:
    async def target() -> int:
        return await call()

    return tenacity.retry(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(initial=BASE_DELAY_S, max=MAX_DELAY_S, jitter=JITTER_S),
        reraise=True,
    )(target)


def _stamina(call: Call) -> Call:
    async def target() -> int:
        return await call()

    return stamina.retry(on=Exception, attempts=ATTEMPTS, wait_initial=BASE_DELAY_S, wait_max=MAX_DELAY_S)(
        target
    )


BY_HAND = plain("a loop by hand", one_after_another(_by_hand))
TENACITY = plain("tenacity", one_after_another(_tenacity))
STAMINA = plain("stamina", one_after_another(_stamina))
