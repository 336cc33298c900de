"""A function with its dataset, and one run of it over all rows on the engine."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

from spanloom.callbacks.decorate import is_coroutine_function
from spanloom.concurrency.adaptive import AdaptiveLimiter
from spanloom.concurrency.call import compose
from spanloom.concurrency.checkpoint import Checkpointing
from spanloom.concurrency.ctrl_c import blocking
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.names import name_of
from spanloom.concurrency.resume import ResumedSink
from spanloom.concurrency.runner import Run
from spanloom.evaluation.results import EvaluationRecord, EvaluationResults
from spanloom.evaluation.retries import policy_of
from spanloom.evaluation.rows import Columns, Row, RowCheckpoint

__all__ = ["Evaluation", "evaluation_of", "mark"]

_MARK = "__spanloom_evaluation__"


class Evaluation:
    """A function decorated by `ForEach`; `evaluation_of` returns it.

    Args:
        function: Called with each row.
        columns: Columns of the dataset.
        dataset: The rows.
        limit: How many asynchronous calls at once, or a limiter; ``None`` for an `AdaptiveLimiter` for each run.
        retries: See `ForEach`.
        storage: See `ForEach`.

    Attributes:
        name: Name of the function.
        function: As given.
        columns: Names of the columns.
        is_async: Whether the function is a coroutine function.
        parameters: Parameters of the function that are not columns. All are keyword-only, but for the function's
            first, as the ``self`` of a method.

    Raises:
        TypeError: the function lacks a parameter for a column, has a positional-only one, or is a generator.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        columns: Columns,
        dataset: Any,
        *,
        limit: int | Limiter | None,
        retries: object,
        storage: Checkpointing | None,
    ) -> None:
        self.name: str = name_of(function) or "evaluation"
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{self.name} yields: return what a row comes to, or nothing of it runs")
        self.function = function
        self.columns: tuple[str, ...] = columns.names
        self.is_async: bool = is_coroutine_function(function)
        self.parameters: tuple[inspect.Parameter, ...] = _others(function, columns.names, self.name)
        self._columns = columns
        self._dataset = dataset
        self._limit = limit
        self._retries = retries
        self._storage = storage

    def keywords(self, leading: tuple[object, ...], others: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments other than columns by name, checked before any row is run.

        Args:
            leading: Positional arguments: for a method, its object.
            others: Keyword arguments.

        Raises:
            TypeError: one is missing, unknown, given twice, or a column.
        """
        given = sorted(set(others) & set(self.columns))
        if given:
            raise TypeError(
                f"{self.name} gets {', '.join(map(repr, given))} from its dataset, not from the call"
            )
        try:
            inspect.Signature(self.parameters).bind(*leading, **others)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None
        names = (each.name for each in self.parameters)  # as bound above, one at most is given by position
        return others | dict(zip(names, leading, strict=False))

    async def run(self, others: dict[str, Any]) -> EvaluationResults:
        """Call the function with each row.

        Args:
            others: Further keywords for every call.

        Returns:
            The results; an error of a row is in its record.

        Raises:
            Exception: what the dataset or the storage raises.
            BaseException: a cancel, ``KeyboardInterrupt`` or ``SystemExit``, also of a row; all rows have ended then.
        """
        function = self.function
        whole = functools.partial(function, **others) if others else function
        limit: int | Limiter = 1
        if self.is_async:
            limit = AdaptiveLimiter() if self._limit is None else self._limit
        pulled: list[Row] = []
        sink = ResumedSink("return")
        run = Run.bounded(
            "foreach",
            self._columns.source(self._dataset, pulled),
            sink,
            limit=limit,
            call=compose(
                self._calling(whole),
                timeout=None,
                retry=policy_of(self._retries),
                name=self.name,
                limit=limit,
            ),
            function=function,
        )
        await run.resume(RowCheckpoint(self._storage), whole)
        return EvaluationResults(
            self.name,
            [
                EvaluationRecord(
                    outcome.index,
                    pulled[outcome.index].values,
                    outcome.value,
                    outcome.error,
                    str(outcome.status),
                    outcome.attempts,
                    outcome.run_ns / 1e9,
                )
                for outcome in sink.outcomes()
            ],
        )

    def _calling(self, whole: Callable[..., Any]) -> Callable[[Row], Awaitable[Any]]:
        is_async = self.is_async

        async def call(row: Row) -> Any:
            if row.error is not None:
                raise row.error
            if is_async:
                return await whole(**row.values)
            with blocking():
                value = whole(**row.values)
            return await value if inspect.isawaitable(value) else value

        return call


def evaluation_of(function: object) -> Evaluation | None:
    """Return the evaluation behind a decorated function; ``None`` for anything else."""
    found = getattr(function, _MARK, None)
    return found if isinstance(found, Evaluation) else None


def mark(function: Callable[..., Any], evaluation: Evaluation) -> Callable[..., Any]:
    """Attach `evaluation` to our wrapper `function`, and give that the name and signature of the user's function."""
    made = cast("Any", functools.update_wrapper(function, evaluation.function))
    setattr(made, _MARK, evaluation)
    if made.__name__.startswith("eval"):
        made.__test__ = True  # so that pytest collects it without `python_functions`
    # pytest looks at the signature for the fixtures to call it with.
    made.__signature__ = inspect.Signature(evaluation.parameters)
    return cast("Callable[..., Any]", made)


def _others(
    function: Callable[..., Any], columns: tuple[str, ...], name: str
) -> tuple[inspect.Parameter, ...]:
    """Return the parameters that are not columns; see `Evaluation.parameters`."""
    parameters = list(inspect.signature(function).parameters.values())
    whatever = any(each.kind is each.VAR_KEYWORD for each in parameters)
    unnamed = [each.name for each in parameters if each.kind is each.POSITIONAL_ONLY]
    if unnamed:
        raise TypeError(
            f"{name} takes {', '.join(map(repr, unnamed))} by position only, and rows are given by name: remove the '/'"
        )
    by_name = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    known = {each.name for each in by_name}
    missing = [column for column in columns if column not in known]
    if missing and not whatever:
        raise TypeError(
            f"{name} has no parameter {', '.join(map(repr, missing))} for the column of that name"
        )
    others = [
        each if each is parameters[0] else each.replace(kind=each.KEYWORD_ONLY)
        for each in by_name
        if each.name not in columns
    ]
    others.extend(each for each in parameters if each.kind is each.VAR_KEYWORD)
    return tuple(others)
