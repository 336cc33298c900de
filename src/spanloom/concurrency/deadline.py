"""The deadline under which the current task runs, whoever set it."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import Any, Final

__all__ = ["effective_deadline"]

MAX_TIMERS: Final = 1000
"""Timers looked at before a back-off: 50 us."""


def effective_deadline() -> float:
    """Return the earliest enclosing deadline on the loop's clock; ``math.inf`` if none is known.

    Knows anyio's cancel scopes and ``asyncio.timeout`` (and what is built on it: ``timeout_at``,
    ``wait_for`` from Python 3.12 on, and the ``timeout`` of our own runners).
    """
    return min(_anyio_deadline(), _asyncio_deadline())


def _anyio_deadline() -> float:
    # A program that has not imported anyio has no cancel scope, and need not pay for the import.
    deadline = getattr(sys.modules.get("anyio"), "current_effective_deadline", None)
    # Also None while another thread is importing anyio.
    return math.inf if deadline is None else float(deadline())


def _asyncio_deadline() -> float:
    """Look for the current task's timeouts among the loop's timers.

    An active ``asyncio.Timeout`` is known only by its timer. Looking costs some 50 ns a timer before
    each back-off, and each sleeping job has a timer. So the answer is ``math.inf`` if there are more
    than `MAX_TIMERS`, or if the loop has no such list (uvloop); the timeout then ends a back-off itself.
    """
    loop: Any = asyncio.get_running_loop()
    timers = getattr(loop, "_scheduled", None)
    task = asyncio.current_task()
    if timers is None or task is None or len(timers) > MAX_TIMERS:
        return math.inf
    deadline = math.inf
    for timer in timers:
        timeout: object = getattr(timer._callback, "__self__", None)  # noqa: SLF001 -- see the docstring
        if isinstance(timeout, asyncio.Timeout) and getattr(timeout, "_task", None) is task:
            when = timeout.when()
            if when is not None:
                deadline = min(deadline, when)
    return deadline
