"""The protocols of a checkpoint, as runners use it: this side knows nothing of files."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

__all__ = ["Checkpointing", "ResultLog", "check_checkpoint"]


class ResultLog(Protocol):
    """The stored results of one batch. Used on the loop's thread."""

    def key_of(self, item: object) -> object:
        """Return the key of the next item, in input order; raise if it has none, or not a unique one."""

    def find(self, keys: Sequence[Any]) -> Awaitable[list[tuple[object] | None]]:
        """Return, for each key in order, ``(result,)``, or ``None`` if none is stored."""

    def store(self, key: Any, value: object) -> Awaitable[None]:
        """Store a result; done when it is committed. If the caller is cancelled, it is stored all the same."""

    async def close(self) -> None:
        """Wait until all results passed to `store` are stored; a cancel is raised after that."""

    def abandon(self) -> None:
        """Close the log without waiting, where nothing can be awaited any more."""


class Checkpointing(Protocol):
    """What a runner takes as its ``checkpoint``; `spanloom.Checkpoint` is one."""

    @property
    def grace_s(self) -> float | None:
        """Seconds that running jobs may take to end after Ctrl-C; ``None`` not to handle Ctrl-C."""

    async def open(self, function: Any, total: int | None) -> ResultLog:
        """Return the results of a batch.

        Args:
            function: What is called with the items; ``None`` if they are jobs.
            total: Number of items, or ``None`` if unknown.
        """


def check_checkpoint(checkpoint: object) -> None:
    """Make sure that `checkpoint` is one, or ``None``.

    Raises:
        TypeError: it is neither.
    """
    if checkpoint is not None and not callable(getattr(checkpoint, "open", None)):
        raise TypeError(
            f"checkpoint must be a Checkpoint or None, not {type(checkpoint).__name__}; "
            f"for example checkpoint=Checkpoint('results.db')"
        )
