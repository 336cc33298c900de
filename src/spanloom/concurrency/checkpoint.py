"""What a runner needs of a checkpoint: the running side knows nothing of files."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

__all__ = ["Checkpointing", "ResultLog", "check_checkpoint"]


class ResultLog(Protocol):
    """The stored results, as one batch sees them. Used on the loop's thread."""

    def key_of(self, item: object) -> object:
        """Return the key of the next item, in the order of the input; raise if it has none of its own."""

    def find(self, keys: Sequence[Any]) -> Awaitable[list[tuple[object] | None]]:
        """Return for each key the stored result, in a tuple of its own, or ``None`` if there is none."""

    def store(self, key: Any, value: object) -> Awaitable[None]:
        """Return when the result is stored for good; what a cancelled caller has handed over is stored, too."""

    async def close(self) -> None:
        """Return when everything handed over is stored; a cancel is raised after that."""

    def abandon(self) -> None:
        """Let go of the log where nothing can be awaited any more."""


class Checkpointing(Protocol):
    """What the ``checkpoint`` of a runner must be able to do; `spanloom.Checkpoint` is one."""

    @property
    def grace_s(self) -> float | None:
        """Seconds that running jobs may take to end after Ctrl-C; ``None`` to leave that alone."""

    async def open(self, function: Any, total: int | None) -> ResultLog:
        """Return the results as a batch sees them that runs `function`, or jobs if that is ``None``."""


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
