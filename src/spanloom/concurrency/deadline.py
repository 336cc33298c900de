"""The deadline that the current task runs under, whoever set it."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import Any, Final

__all__ = ["effective_deadline"]

MAX_TIMERS: Final = 1000
"""Timers looked at before a back-off: 50 us."""


def effective_deadline() -> float:
    """Return the earliest enclosing deadline on the loop's clock; ``math.inf`` if there is none.

    Knows anyio's cancel scopes and ``asyncio.timeout`` (and what is built on it: ``timeout_at``,
    ``wait_for`` from Python 3.12 on, and the ``timeout`` of our own runners).
    """
    return min(_anyio_deadline(), _asyncio_deadline())


def _anyio_deadline() -> float:
    # Who has not imported anyio has no cancel scope, and need not pay for the import.
    deadline = getattr(sys.modules.get("anyio"), "current_effective_deadline", None)
    # None as well while another thread is importing it.
    return math.inf if deadline is None else float(deadline())


def _asyncio_deadline() -> float:
    """Look for the current task's timeouts among the loop's timers.

    A running ``asyncio.Timeout`` is registered nowhere but in the timer that will end it. Looking
    takes some 50 ns a timer, before each back-off, and each sleeping job has a timer: with more than
    `MAX_TIMERS` of them there is no answer. A loop without that list (uvloop) gives none either. A
    back-off is then cut short by the timeout itself.
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
