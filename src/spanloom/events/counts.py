"""The live numbers of a running batch, for whoever polls them."""

from __future__ import annotations

import weakref
from typing import Protocol

import msgspec

__all__ = ["BatchCounts", "LiveJobs"]


class LiveJobs(Protocol):
    """Numbers that a runner keeps anyway; reading them costs the running jobs nothing."""

    @property
    def started(self) -> int:
        """Jobs taken from the input so far."""

    def __len__(self) -> int:
        """Jobs that have started and not ended."""


class BatchCounts(msgspec.Struct, eq=False):
    """How far a batch has come. Written by its runner on the loop's thread, read by anyone.

    Attributes:
        total: Number of jobs that the batch will have; ``None`` while nobody can know (generators).
        failed: Jobs that ended with an exception, timeouts included.
        cancelled: Jobs that were cancelled.
        skipped: Jobs that did not run, because a checkpoint had their results.
        backing_off: Jobs that sleep before their next attempt at this moment.
        retried: Attempts beyond the first, of all jobs so far.
    """

    total: int | None
    _live: weakref.ref[LiveJobs] | None = None
    """The runner. Weak: events must not keep it, its tasks and their frames alive."""
    failed: int = 0
    cancelled: int = 0
    backing_off: int = 0
    retried: int = 0
    skipped: int = 0
    _started: int = 0

    @property
    def started(self) -> int:
        """Jobs taken from the input so far."""
        live = None if self._live is None else self._live()
        return self._started if live is None else live.started

    @property
    def in_flight(self) -> int:
        """Jobs that have started and not ended."""
        live = None if self._live is None else self._live()
        return 0 if live is None else len(live)

    @property
    def ended(self) -> int:
        """Jobs that have ended, in whatever way."""
        return self.started - self.in_flight

    @property
    def ok(self) -> int:
        """Jobs that ran and ended well."""
        return max(0, self.ended - self.failed - self.cancelled - self.skipped)

    @property
    def waiting(self) -> int | None:
        """Jobs of the input that have not started; ``None`` where `total` is."""
        return None if self.total is None else max(0, self.total - self.started)

    def __repr__(self) -> str:
        names = (
            "total",
            "started",
            "in_flight",
            "ok",
            "failed",
            "cancelled",
            "skipped",
            "backing_off",
            "retried",
        )
        return f"BatchCounts({', '.join(f'{name}={getattr(self, name)}' for name in names)})"

    def settle(self) -> int:
        """Store the final numbers, drop the runner, and return how many jobs have ended.

        Called once, when the batch ends: every started job has ended by then.
        """
        self._started = started = self.started
        self._live = None
        return started
