"""Busy time: how long a job holds the event loop, step by step.

Deep timing replaces ``asyncio.Handle._run`` while a batch that asked for it is running, and puts it
back afterwards. Every callback of every loop then costs two clock readings more (0.3 us), which is
why it is a choice. The time of a step belongs to the job whose context the step runs in, so the
child tasks and the callbacks of a job count for the job.

Nothing of the user's is wrapped: a coroutine stepped by a wrapper would lose its name and its
stack in every other tool. Loops that do not use ``asyncio.Handle``, such as uvloop's, cannot be
measured in this way; `BusyMeter.attach` says so once, and busy times stay ``None``.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from spanloom.events.clock import monotonic_ns
from spanloom.events.event import Event, JobEvent, detail_of

__all__ = ["BusyMeter"]

_logger = logging.getLogger("spanloom.concurrency")
_lock = threading.Lock()
_attached: list[ContextVar[Event | None]] = []
_original: Callable[[Any], None] | None = None
_SEAM: Final = "_run"  # not public, but the one seam there is, the same from Python 3.4 to 3.14
_warned = False


class _Step(threading.local):
    mark_ns = 0


_step = _Step()
"""When the step that this thread runs began, or when its current job did."""


class BusyMeter:
    """Adds up the busy time of the jobs of one manager while it is attached."""

    def __init__(self, current: ContextVar[Event | None]) -> None:
        self._current = current

    @classmethod
    def attach(cls, current: ContextVar[Event | None], loop: asyncio.AbstractEventLoop) -> BusyMeter | None:
        """Start measuring; return ``None`` if this loop cannot be measured.

        Args:
            current: Holds the current event of a context.
            loop: The running event loop.
        """
        global _original, _warned  # noqa: PLW0603 -- one patch for the process, counted by _attached
        if not isinstance(loop, asyncio.BaseEventLoop):
            if not _warned:
                _warned = True
                _logger.warning(
                    "deep timing needs asyncio's own event loop; busy times are not measured on %s",
                    type(loop).__qualname__,
                )
            return None
        with _lock:
            _attached.append(current)
            if _original is None:
                _original = getattr(asyncio.Handle, _SEAM)
                setattr(asyncio.Handle, _SEAM, _timed(_original))
        _step.mark_ns = monotonic_ns()
        return cls(current)

    def detach(self) -> None:
        """Stop measuring."""
        global _original  # noqa: PLW0603 -- see attach
        with _lock:
            _attached.remove(self._current)
            if not _attached and _original is not None:
                setattr(asyncio.Handle, _SEAM, _original)
                _original = None

    def begin(self, record: JobEvent) -> None:
        """Count for `record` from its start on: what this step did before that was not the job's."""
        _step.mark_ns = record.start_ns

    def split(self, record: JobEvent) -> None:
        """Give `record` the time since the step or its last split began; the rest is for the next."""
        now = monotonic_ns()
        _credit(record, now - _step.mark_ns)
        _step.mark_ns = now


def _credit(record: JobEvent, busy_ns: int) -> None:
    detail = detail_of(record)
    detail.busy_ns = busy_ns + (detail.busy_ns or 0)


def _timed(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def _run(self: Any) -> None:
        _step.mark_ns = monotonic_ns()
        original(self)
        context = self._context
        if context is None:
            return
        busy_ns = monotonic_ns() - _step.mark_ns
        for current in _attached:
            event = context.get(current)
            job = None if event is None else event.job
            if job is not None and job.end_ns is None:
                _credit(job, busy_ns)

    return _run
