"""How one job ended."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

__all__ = ["Outcome"]

T = TypeVar("T")


class Outcome(msgspec.Struct, Generic[T], frozen=True):
    """How one job ended; yielded by `stream`, and returned by `partial_outcomes`.

    Attributes:
        index: Position of the job in the input, from 0.
        value: What it returned; ``None`` if it failed.
        error: The exception that it raised, the same object; ``None`` if it returned.
        status: An `EventStatus`: ``ok``, ``error``, ``timeout``, or ``skipped`` if a checkpoint had its value.
        attempts: Tries made; 1 unless a retry policy was given.
        queue_ns: Nanoseconds from when it could have run until its first step.
        run_ns: Nanoseconds from its first step to its end, back-offs included.
        busy_ns: Part of `run_ns` in which it held the event loop; ``None`` unless deep timing is on.
    """

    index: int
    value: T | None
    error: Exception | None
    status: str
    attempts: int
    queue_ns: int
    run_ns: int
    busy_ns: int | None = None

    @property
    def ok(self) -> bool:
        """True if the job returned."""
        return self.error is None

    def unwrap(self) -> T:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None is a value, too
