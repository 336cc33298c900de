"""`foreach`: a decorator that calls a function with every row of a dataset."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import Any, Final

from spanloom._numbers import check_count
from spanloom.concurrency.checkpoint import Checkpointing, check_checkpoint
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.sync import run_sync
from spanloom.evaluation.decorated import Evaluation, mark
from spanloom.evaluation.results import EvaluationResults
from spanloom.evaluation.retries import check_retries
from spanloom.evaluation.rows import Columns

__all__ = ["ForEach", "foreach"]


class ForEach:
    """Makes decorators like `foreach`, with options: ``foreach = ForEach(max_concurrency=10)``.

    Args:
        retries: When a row is tried again: a `RetryPolicy`, or tenacity's ``AsyncRetrying`` (or ``Retrying``), of
            which each row gets its own copy. ``None`` for `DEFAULT_RETRIES`: three attempts, for connection errors.
        concurrency: How many rows of an ``async def`` run at once, at least 1, or a limiter. ``None`` for an
            `AdaptiveLimiter` for each run.
        storage: A `spanloom.Checkpoint`. Each value is stored before it counts. A row with a stored value is not
            run again; a failed one is. Rows are identified by their values, so the dataset may grow or be reordered.
        max_concurrency: The same as `concurrency` with a number.

    Raises:
        ValueError: a number is below 1, or both are given.
        TypeError: an argument is of the wrong kind.
    """

    def __init__(
        self,
        retries: object = None,
        concurrency: int | Limiter | None = None,
        storage: Checkpointing | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        if concurrency is not None and max_concurrency is not None:
            raise ValueError("give either concurrency= or max_concurrency=, not both")
        self.limit: int | Limiter | None
        if max_concurrency is not None:
            self.limit = check_count(max_concurrency, "max_concurrency")
        elif concurrency is None or isinstance(concurrency, Limiter):
            self.limit = concurrency
        else:
            self.limit = check_count(concurrency, "concurrency")
        check_retries(retries)
        check_checkpoint(storage)
        self.retries = retries
        self.storage = storage

    def __call__(
        self, columns: str | Sequence[str], dataset: Iterable[Any] | AsyncIterable[Any]
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator that calls a function with every row of `dataset`.

        The decorated function takes the other parameters of the function as keywords, and a method its object, and
        passes the same ones to every row. Decorating a ``def``, it runs row by row and returns `EvaluationResults`; an
        awaitable that a row returns is awaited before the next row. Decorating an ``async def``, it returns an
        awaitable of the results, and rows run concurrently. An `Exception` of a row is kept in its record. Handlers
        see the run as a batch of jobs.

        Args:
            columns: Names of the columns, separated by commas; each is a parameter of the function.
            dataset: Rows: tuples or lists by position, mappings by name, or single values for a single column.
                An iterator is pulled lazily, and used up by the first run.

        Raises:
            ValueError: there is no column, or one is not an identifier, or there twice.
            TypeError: `columns` is neither a str nor a list of them; or, from the decorator, the function lacks a
                parameter for a column.
        """
        named = Columns(columns)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            evaluation = self._evaluation(function, named, dataset)
            if evaluation.is_async:

                async def evaluate_async(*leading: object, **others: Any) -> EvaluationResults:
                    return await evaluation.run(evaluation.keywords(leading, others))

                return mark(evaluate_async, evaluation)

            def evaluate(*leading: object, **others: Any) -> EvaluationResults:
                return run_sync(evaluation.run(evaluation.keywords(leading, others)))

            return mark(evaluate, evaluation)

        return decorate

    def _evaluation(self, function: Callable[..., Any], columns: Columns, dataset: Any) -> Evaluation:
        return Evaluation(
            function, columns, dataset, limit=self.limit, retries=self.retries, storage=self.storage
        )


foreach: Final = ForEach()
"""`ForEach` with its defaults."""
