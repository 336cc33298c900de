"""`ForEach`, as in dotevals."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from importlib import import_module
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final

from spanloom import evaluation
from spanloom.compat._dotevals.decorated import decorate
from spanloom.compat._dotevals.strategies import limit_of
from spanloom.concurrency.checkpoint import Checkpointing
from spanloom.evaluation.retries import check_retries
from spanloom.store.checkpoint import Checkpoint

__all__ = ["ForEach", "foreach"]

JSON: Final = "json://"
FILE: Final = "evaluations.db"
"""Name of the file in the folder of a ``json://`` URL."""


class ForEach:
    """Makes decorators of evaluations: ``ForEach(concurrency=Adaptive())("question,answer", rows)(function)``.

    Any other attribute is a dataset that dotevals knows, if that is installed: ``foreach.gsm8k("test")(function)``.

    Args:
        retries: tenacity's ``AsyncRetrying`` (or ``Retrying``), of which each row gets its own copy; ``None`` for three
            attempts for connection errors.
        concurrency: `Adaptive`, `SlidingWindow`, `AsyncSequential`, `Sequential`, a number or a limiter. Rows of a
            ``def`` always run one by one. ``None`` for an adaptive limit for each run.
        storage: A `spanloom.Checkpoint`, the path of its file, or ``json://FOLDER`` for a file in that folder. A row
            with a stored value is not run again.
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
        self,
        column_spec: str | Sequence[str],
        dataset: Iterable[Any] | AsyncIterable[Any],
        *,
        retries: object = None,
        concurrency: object = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator that calls a function with every row of `dataset`.

        The decorated function takes the function's other parameters as keywords, and returns an `EvaluationSummary`, or
        for an ``async def`` an awaitable of one. With a session manager of dotevals', which then is the storage, it
        always returns an awaitable. ``samples=n`` runs only the first n rows that are not done. ``retries=``,
        ``concurrency=`` and ``max_concurrency=`` apply to that one run, unless the function has such parameters.

        Args:
            column_spec: Names of the columns, separated by commas.
            dataset: The rows: tuples, whose further values are ignored, mappings, or single values for a single column.
            retries: As for the class, for this function.
            concurrency: The same.

        Raises:
            ValueError: a column is not an identifier.
            TypeError: an argument is of the wrong kind.
        """
        check_retries(retries)
        limit = self._options.limit if concurrency is None else limit_of(concurrency)
        retries = self.retries if retries is None else retries
        storage = self._options.storage
        return lambda function: decorate(function, column_spec, dataset, limit, retries, storage)

    def __getattr__(self, name: str) -> Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        def of(
            split: str | None = None, **options: Any
        ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
            known: Any = vars(import_module("dotevals.datasets"))
            kind = (known.get("registry") or known["_registry"]).get_dataset_class(
                name
            )  # until 0.25 the latter
            return self(",".join(kind.columns), kind(*([] if split is None else [split]), **options))

        return of


def _storage_of(storage: Any) -> Checkpointing | None:
    if not isinstance(storage, (str, PathLike)):
        return storage  # type: ignore[no-any-return]  # ForEach checks it
    given = fspath(storage)
    return Checkpoint(Path(given.removeprefix(JSON), FILE) if given.startswith(JSON) else Path(given))


foreach: Final = ForEach()
"""`ForEach` with its defaults."""
