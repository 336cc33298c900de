"""Tests of deadlines that no machine is too slow for: the clock of their loop goes on only when all wait for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from spanloom.testing import virtual_clock

P = ParamSpec("P")


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a loop with a virtual clock: a deadline cuts off what waits, not what is slow to begin."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with virtual_clock() as runner:
            runner.run(test(*args, **kwargs))

    return run
