"""The rows of a dataset that a run takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Iterator
from typing import Any

__all__ = ["Samples"]


class Samples:
    """The first rows of a dataset that are not done; pulls no more than that.

    Args:
        dataset: Any iterable or async iterable.
        samples: How many to take at most; ``None`` for all.
        done: Numbers of rows that are left out.

    Attributes:
        numbers: Positions of the rows that were taken, from 0.

    Raises:
        ValueError: `samples` is below 0.
    """

    def __init__(self, dataset: Any, samples: int | None, done: Container[int] = ()) -> None:
        if samples is not None and samples < 0:
            raise ValueError(f"samples must be at least 0, or None for all (got {samples})")
        self._dataset = dataset
        self._left = samples
        self._done = done
        self.numbers: list[int] = []

    def rows(self) -> Any:
        """Return an iterator over them, asynchronous if the dataset is; to be called once."""
        return self._take_later() if hasattr(self._dataset, "__aiter__") else self._take()

    def _take(self) -> Iterator[Any]:
        if self._left == 0:
            return
        for number, row in enumerate(self._dataset):
            if self._wants(number):
                yield row
                if self._left == 0:
                    return

    async def _take_later(self) -> AsyncIterator[Any]:
        if self._left == 0:
            return
        number = 0
        rows = aiter(self._dataset)
        try:
            async for row in rows:
                if self._wants(number):
                    yield row
                    if self._left == 0:
                        return
                number += 1
        finally:
            # Close an iterator that was made here, as dropping an async generator does not; not the user's own.
            if rows is not self._dataset and hasattr(rows, "aclose"):
                await rows.aclose()

    def _wants(self, number: int) -> bool:
        if number in self._done:
            return False
        self.numbers.append(number)
        if self._left is not None:
            self._left -= 1
        return True
