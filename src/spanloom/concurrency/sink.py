"""Where results go, and which failures end a batch."""

from __future__ import annotations

from typing import Final, Literal, cast

from spanloom.events.event import JobEvent

__all__ = ["MISSING", "ListSink", "OnError", "Sink", "check_on_error"]

OnError = Literal["raise", "return", "skip"]
_ON_ERROR: Final = ("raise", "return", "skip")


class _Missing:
    __slots__ = ()


MISSING: Final = _Missing()
"""Placeholder in a list of results for a job without one. ``None`` is a value."""


class Sink:
    """Takes the end of each job from the engine, on the loop's thread, when it happens.

    Attributes:
        values: If not ``None``, the engine does not call `ok`: it appends `MISSING` for each started
            job, and stores the value of a successful one at the job's index.
    """

    values: list[object] | None = None

    def ok(self, index: int, record: JobEvent | None, value: object) -> bool:
        """Take a value, if `values` is ``None``; return True to stop the batch without an error."""
        return False

    def failed(self, index: int, record: JobEvent | None, error: Exception) -> bool:
        """Take an exception; return True to cancel the other jobs and raise it."""
        return True

    def late(self, error: Exception) -> None:
        """Take an exception that was raised after the batch was stopped; it has no effect."""


class ListSink(Sink):
    """Results in input order; on failure as ``on_error`` says."""

    def __init__(self, on_error: OnError) -> None:
        self._list: list[object] = []
        self.values: list[object] | None = self._list
        self._on_error = on_error

    def failed(self, index: int, record: JobEvent | None, error: Exception) -> bool:
        if self._on_error == "return":
            self._list[index] = error
        return self._on_error == "raise"

    def results(self) -> list[object]:
        """Return the results, without the failed jobs of ``on_error="skip"``; call it once."""
        if self._on_error == "raise":
            return self._list
        # A new list. An error's traceback refers to the job's frame, and that to the list that the engine
        # writes to: with the error in that list, only the garbage collector could free the cycle.
        results = [value for value in self._list if value is not MISSING]
        self._list.clear()
        return results

    def pairs(self) -> list[tuple[int, object]]:
        """Return pairs of index and result, otherwise like `results`; call it once."""
        pairs = [(index, value) for index, value in enumerate(self._list) if value is not MISSING]
        self._list.clear()
        return pairs


def check_on_error(on_error: str) -> OnError:
    """Return `on_error` if it is one of the three.

    Raises:
        ValueError: it is not.
    """
    if on_error not in _ON_ERROR:
        raise ValueError(f"on_error must be one of {', '.join(map(repr, _ON_ERROR))} (got {on_error!r})")
    return cast("OnError", on_error)
