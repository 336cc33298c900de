"""Rows of a dataset: values by column name, and the keys under which their results are stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

from spanloom.concurrency.checkpoint import Checkpointing, ResultLog
from spanloom.concurrency.source import Source

__all__ = ["Columns", "Row", "RowCheckpoint"]

REPEATED: Final = "#"
"""The column that tells equal rows apart, in keys only."""

_encoder = msgspec.json.Encoder(order="deterministic")


class Row(msgspec.Struct, eq=False):
    """One row.

    Attributes:
        values: Arguments of the function, by column.
        error: Why the row does not fit the columns, or ``None``.
    """

    values: dict[str, Any]
    error: Exception | None = None


class Columns:
    """The names of a dataset's columns.

    Args:
        names: Separated by commas, as in ``"question,answer"``, or a list.
        exact: Whether a row with more values than columns is an error; otherwise the rest is ignored.

    Raises:
        ValueError: one is not an identifier, or there twice.
        TypeError: `names` is neither a str nor a list or tuple of str.
    """

    def __init__(self, names: str | Sequence[str], *, exact: bool = True) -> None:
        self._exact = exact
        parts: object = names.split(",") if isinstance(names, str) else names
        if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
            raise TypeError(f'columns are a text like "question,answer", or a list of texts (got {names!r})')
        self.names: tuple[str, ...] = tuple(part.strip() for part in parts)
        if not all(name.isidentifier() for name in self.names):
            raise ValueError(f'columns are names of parameters, as in "question,answer" (got {names!r})')
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"columns must have different names (got {names!r})")

    def row(self, given: object) -> Row:
        """Return `given` by column: a tuple or list by position, a mapping by name, anything else as the only column.

        A row that does not fit gets an error for its record instead, as the others may fit.
        """
        names = self.names
        if isinstance(given, Mapping):
            missing = [name for name in names if name not in given]
            if missing and len(names) == 1:
                return Row({names[0]: given})  # it is the value of the only column itself
            if missing:
                return Row({}, ValueError(f"the row has no column {', '.join(map(repr, missing))}"))
            return Row({name: given[name] for name in names})
        if isinstance(given, (tuple, list)):
            if len(given) < len(names) or (self._exact and len(given) > len(names)):
                return Row({}, ValueError(f"the row has {len(given)} values for {len(names)} columns"))
            return Row(dict(zip(names, given, strict=False)))
        if len(names) == 1:
            return Row({names[0]: given})
        return Row({}, ValueError(f"a row of {len(names)} columns cannot be a {type(given).__name__}"))

    def source(self, dataset: Any, pulled: list[Row]) -> Source:
        """Return the rows of `dataset`: all of a list or tuple, lazily of anything else.

        Args:
            dataset: Any iterable or async iterable.
            pulled: Each row is appended when it is taken; those of a list or tuple at once.

        Raises:
            TypeError: it is neither.
        """
        whole = Source.of(dataset, "dataset", jobs=False)  # for its judgement of what it was given
        if whole.asynchronous is not None:
            rows = Source.of(self._pull_later(whole.asynchronous, pulled), jobs=False)
        elif isinstance(dataset, (list, tuple)):
            pulled.extend(map(self.row, dataset))
            rows = Source.of(pulled.copy(), jobs=False)
        else:
            rows = Source.of(self._pull(dataset, pulled), jobs=False)
        rows.total = len(dataset) if isinstance(dataset, Collection) else None
        return rows

    def _pull(self, dataset: Iterable[object], pulled: list[Row]) -> Iterable[Row]:
        for given in dataset:
            pulled.append(self.row(given))
            yield pulled[-1]

    async def _pull_later(self, dataset: AsyncIterator[object], pulled: list[Row]) -> AsyncIterator[Row]:
        async for given in dataset:
            pulled.append(self.row(given))
            yield pulled[-1]


class RowCheckpoint:
    """A checkpoint for rows: equal rows have results of their own.

    Args:
        storage: The checkpoint, which makes its keys of each row's dict; ``None`` to keep nothing.
    """

    def __init__(self, storage: Checkpointing | None) -> None:
        self._storage = storage

    @property
    def grace_s(self) -> float | None:
        """``grace_s`` of the checkpoint; ``None`` without one."""
        return None if self._storage is None else self._storage.grace_s

    async def open(self, function: Any, total: int | None) -> ResultLog:
        """Open the checkpoint for one run."""
        return _Log(None if self._storage is None else await self._storage.open(function, total))


class _Log:
    """The stored results of one run."""

    def __init__(self, log: ResultLog | None) -> None:
        self._log = log
        self._times: dict[bytes, int] = {}

    def key_of(self, item: Any) -> object:
        """Return the key of a row; of equal rows, each after the first gets a further column `REPEATED` in its key."""
        if self._log is None:
            return None
        values: dict[str, Any] = item.values
        try:
            digest = blake2b(_encoder.encode(values), digest_size=16).digest()
        except Exception:  # noqa: BLE001 -- no JSON form, or its own code fails: the checkpoint decides
            return self._log.key_of(values)
        times = self._times[digest] = self._times.get(digest, 0) + 1
        return self._log.key_of(values if times == 1 else {**values, REPEATED: times})

    async def find(self, keys: Sequence[Any]) -> list[tuple[object] | None]:
        return [None] * len(keys) if self._log is None else await self._log.find(keys)

    async def store(self, key: Any, value: object) -> None:
        if self._log is not None:
            await self._log.store(key, value)

    async def close(self) -> None:
        if self._log is not None:
            await self._log.close()

    def abandon(self) -> None:
        if self._log is not None:
            self._log.abandon()
