"""Every exception that spanloom itself raises.

The tree::

    SpanloomError
    ├── BatchStoppedError       (also RuntimeError) the processor stopped before this item had its result
    ├── CheckpointError         results cannot be stored or found; ends the batch
    │   └── CheckpointCodecError  one result cannot be stored, or not be read back; fails its job
    ├── ExportError             a run cannot be written or sent elsewhere, in whole or in part
    ├── HandlerError            a handler raised and raise_handler_errors=True was asked for
    ├── MissingDependencyError  (also ImportError) an optional dependency is not installed
    ├── NestedLimiterError      (also RuntimeError) all slots are held by jobs that wait for a slot of the same limiter
    ├── NestedLoopError         (also RuntimeError) run_sync would wait for the loop it blocks
    ├── NotWatchedError         (also LookupError) a process cannot be asked what it is doing
    ├── StoreError              a record cannot be opened or read
    │   ├── RunNotFoundError    (also LookupError) there is no such run in it
    │   ├── StoreCorruptError   the file is not a record, or is damaged
    │   ├── StoreNotFoundError  (also FileNotFoundError) there is no such file
    │   └── StoreVersionError   a newer version of spanloom wrote it
    └── TooManyFailuresError    (also RuntimeError) fill_batch saw more failures than allowed

Bad arguments raise the built-in ``ValueError`` or ``TypeError``; an exception of the user's own
code is always raised as it is, the same object, never wrapped.
"""

from __future__ import annotations

__all__ = [
    "BatchStoppedError",
    "CheckpointCodecError",
    "CheckpointError",
    "ExportError",
    "HandlerError",
    "MissingDependencyError",
    "NestedLimiterError",
    "NestedLoopError",
    "NotWatchedError",
    "RunNotFoundError",
    "SpanloomError",
    "StoreCorruptError",
    "StoreError",
    "StoreNotFoundError",
    "StoreVersionError",
    "TooManyFailuresError",
]


class SpanloomError(Exception):
    """The root of every exception class that spanloom defines."""


class BatchStoppedError(SpanloomError, RuntimeError):
    """A processor was stopped before an item had its result: by one of its guard rails, or by its shutdown."""


class CheckpointError(SpanloomError):
    """A checkpoint's file cannot be used; the message names the file and says what to do.

    Ends its batch whatever ``on_error`` is, because no further result could be stored. Earlier ones stay stored.

    Attributes:
        value: The result that could not be stored, if there was one: it may have been paid for. When the error is
            pickled, a value that cannot be pickled is left out.
    """

    value: object = None

    def __reduce__(self) -> tuple[object, ...]:
        import pickle

        state = vars(self).copy()
        try:
            pickle.dumps(state.get("value"))
        except Exception:  # noqa: BLE001 -- the value's own code; without this, an error of pickle would hide this one
            del state["value"]
        return type(self), self.args, state


class CheckpointCodecError(CheckpointError):
    """A result cannot be encoded, or would be decoded as something else: a failure of its job like any other."""


class ExportError(SpanloomError):
    """A recorded run cannot be written or sent elsewhere; the message says how much was, and why not the rest."""


class HandlerError(SpanloomError):
    """A handler's hook failed while ``raise_handler_errors=True``; ``__cause__`` is its exception."""


class MissingDependencyError(SpanloomError, ImportError):
    """A feature needs a package that is not installed; the message names the extra to install."""


class NestedLimiterError(SpanloomError, RuntimeError):
    """A wait for a slot that could never have ended; the message names who holds the slots, and who waits.

    The holders of all slots wait, themselves or through tasks that they await, for another slot of the same limiter.
    Give the inner jobs a limiter of their own, or hold no slot while they are awaited.

    Attributes:
        cycle: One line per holder of a slot: its name, and where it waits.
    """

    def __init__(self, message: str, cycle: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.cycle: tuple[str, ...] = cycle


class NestedLoopError(SpanloomError, RuntimeError):
    """`run_sync` was given a coroutine that waits for the event loop that `run_sync` blocks."""


class NotWatchedError(SpanloomError, LookupError):
    """A process cannot be asked what it is doing: it does not exist, is not watched, or does not answer."""


class StoreError(SpanloomError):
    """A record cannot be opened or read; the message names the file and says what to do."""


class RunNotFoundError(StoreError, LookupError):
    """The record has no run with the given id, or more than one; the message lists the runs that it has."""


class StoreCorruptError(StoreError):
    """The file is not a record, or it is damaged."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no file at that path."""


class StoreVersionError(StoreError):
    """The file was written by a newer version of spanloom, with a schema that this one does not know."""


class TooManyFailuresError(SpanloomError, RuntimeError):
    """`fill_batch` gave up; ``__cause__`` is the last failure."""
