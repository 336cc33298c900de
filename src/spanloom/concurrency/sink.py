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
"""Stands in a list of results where a failed job is left out. ``None`` is a value."""


class Sink:
    """Takes the end of each job from the engine, on the loop's thread, the moment it happens.

    Attributes:
        values: If not ``None``, the engine appends `MISSING` for each started job and writes the
            value of a job that ended well at the job's index itself, without a call of `ok`.
    """

    values: list[object] | None = None

    def ok(self, index: int, record: JobEvent | None, value: object) -> bool:
        """Take a value, if `values` is ``None``. Return True to stop the batch here, without an error."""
        return False

    def failed(self, index: int, record: JobEvent | None, error: Exception) -> bool:
        """Take an exception. Return True to cancel the other jobs and raise it."""
        return True

    def late(self, error: Exception) -> None:
        """Take an exception of a job that was being cancelled when it raised; it changes nothing any more."""


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
        """Return the results, without the failed jobs of ``on_error="skip"``; to be called once."""
        if self._on_error == "raise":
            return self._list
        # The traceback of an error leads to the frame of its job, and that to the list which the
        # engine writes to: if that were the list with the error in it, only the collector could free it.
        results = [value for value in self._list if value is not MISSING]
        self._list.clear()
        return results

    def pairs(self) -> list[tuple[int, object]]:
        """Return pairs of index and result, otherwise as `results`; to be called once."""
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
