"""`ForEach` as its users know it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final

from spanloom import evaluation
from spanloom.compat._dotevals.records import EvaluationSummary, record_of
from spanloom.compat._dotevals.session import Session
from spanloom.compat._dotevals.strategies import limit_of
from spanloom.concurrency.checkpoint import Checkpointing
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.sync import run_sync
from spanloom.evaluation.decorated import Evaluation, mark
from spanloom.evaluation.rows import Columns
from spanloom.store.checkpoint import Checkpoint

__all__ = ["ForEach", "foreach"]

JSON: Final = "json://"
FILE: Final = "evaluations.db"
"""In the folder that a URL names."""


class ForEach:
    """Makes evaluations: ``ForEach(concurrency=Adaptive())("question,answer", rows)(function)``.

    Args:
        retries: tenacity's ``AsyncRetrying`` (or ``Retrying``), of which each row gets its own copy; ``None`` for three
            attempts for errors of the connection.
        concurrency: `Adaptive`, `SlidingWindow`, `AsyncSequential`, `Sequential`, a number or a limiter; of a ``def``,
            rows run one by one whatever it is. ``None`` for an adaptive limit for each run.
        storage: A `spanloom.Checkpoint`, the path of its file, or ``json://FOLDER`` for a file in that folder: a row
            whose value is there is not run again.
        max_concurrency: How many rows at once; not together with `concurrency`.

    Attributes:
        retries, concurrency, storage: As given.

    Raises:
        ValueError: a number is below 1, or `concurrency` and `max_concurrency` are both given.
        TypeError: an argument is of the wrong kind.
    """

    def __init__(
        self,
        retries: object = None,
        concurrency: object = None,
        storage: Checkpointing | str | PathLike[str] | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        self.retries = retries
        self.concurrency = concurrency
        self.storage = storage
        self._options = evaluation.ForEach(
            retries, limit_of(concurrency), _storage_of(storage), max_concurrency=max_concurrency
        )

    def __call__(
        self, column_spec: str | Sequence[str], dataset: Iterable[Any] | AsyncIterable[Any]
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator that has a function called with every row of `dataset`.

        What it makes takes what the function takes besides the columns, as keywords, and returns an
        `EvaluationSummary`, or of an ``async def`` an awaitable of one. With a session manager of theirs, which then
        is the storage, it is an awaitable in any case. ``samples=n`` runs only the first n rows that are not done.

        Args:
            column_spec: Names of the columns, separated by commas.
            dataset: The rows: tuples, whose further values are ignored, mappings, or single values for a single column.
        """
        columns = Columns(column_spec, exact=False)
        options = self._options

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            made = _Made(function, columns, dataset, options.limit, options.retries, options.storage)

            def evaluate(
                session_manager: Any = None,
                samples: int | None = None,
                **others: Any,
            ) -> Any:
                others.pop("progress_manager", None)  # handlers show progress
                made.whole.check(others)
                run = made.run(session_manager, samples, others)
                return run_sync(run) if session_manager is None else run

            async def evaluate_async(
                session_manager: Any = None,
                samples: int | None = None,
                **others: Any,
            ) -> EvaluationSummary:
                others.pop("progress_manager", None)  # handlers show progress
                made.whole.check(others)
                return await made.run(session_manager, samples, others)

            return mark(evaluate_async if made.whole.is_async else evaluate, made.whole)

        return decorate


class _Made:
    """A function with what it is for."""

    def __init__(
        self,
        function: Callable[..., Any],
        columns: Columns,
        dataset: Any,
        limit: int | Limiter | None,
        retries: object,
        storage: Checkpointing | None,
    ) -> None:
        self.whole = Evaluation(function, columns, dataset, limit=limit, retries=retries, storage=storage)
        self._function = function
        self._columns = columns
        self._dataset = dataset
        self._limit = limit
        self._retries = retries
        self._storage = storage

    async def run(self, manager: Any, samples: int | None, others: dict[str, Any]) -> EvaluationSummary:
        if manager is None:
            part = (
                self.whole if samples is None else self._over(islice(self._dataset, samples), self._storage)
            )
            return EvaluationSummary(map(record_of, await part.run(others)))
        session = Session(manager)
        found = None
        try:
            found = await self._over(session.rows(self._dataset, samples), session).run(others)
        finally:
            summary = session.finish(found)
        return summary

    def _over(self, dataset: Any, storage: Checkpointing | None) -> Evaluation:
        return Evaluation(
            self._function, self._columns, dataset, limit=self._limit, retries=self._retries, storage=storage
        )


def _storage_of(storage: Any) -> Checkpointing | None:
    if not isinstance(storage, (str, PathLike)):
        return storage  # type: ignore[no-any-return]  # ForEach checks it
    given = fspath(storage)
    return Checkpoint(Path(given.removeprefix(JSON), FILE) if given.startswith(JSON) else Path(given))


foreach: Final = ForEach()
"""`ForEach` with its defaults."""
