"""A decorated function: a function with attributes that describe its evaluation."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Self, cast

from spanloom.compat._dotevals.records import EvaluationSummary, record_of
from spanloom.compat._dotevals.samples import Samples
from spanloom.compat._dotevals.session import Session
from spanloom.compat._dotevals.strategies import limit_of
from spanloom.concurrency.checkpoint import Checkpointing
from spanloom.concurrency.limits import Limiter
from spanloom.concurrency.sync import run_sync
from spanloom.evaluation import decorated
from spanloom.evaluation.rows import Columns

__all__ = ["Evaluation", "decorate"]

EXECUTOR: Final = "foreach"
"""The only executor there is here."""

BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class _Kind(type):
    """Makes every decorated function an instance of `Evaluation`.

    In dotevals 0.28 it is a callable object, before that a function. A function serves as both: test runners and
    ``asyncio`` know whether to await it, and it has the attributes of the object.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        return decorated.evaluation_of(instance) is not None and hasattr(instance, "executor_name")


class Evaluation(metaclass=_Kind):
    """A function with its dataset, as `ForEach` makes it. Making an instance returns a function.

    Args:
        eval_fn: Called with each row.
        dataset: The rows.
        executor_name: Only ``foreach``.
        column_spec: Names of the columns, separated by commas.
        executor_kwargs: Further keywords for every call.
        resolved_fixtures: The same; keywords given to a run override them.

    Attributes:
        eval_fn, dataset, executor_name, column_spec, executor_kwargs, resolved_fixtures: As given.
        column_names: Names of the columns.

    Raises:
        RuntimeError: `executor_name` is not ``foreach``.
    """

    eval_fn: Callable[..., Any]
    dataset: Any
    executor_name: str
    column_spec: str
    column_names: list[str]
    executor_kwargs: dict[str, Any]
    resolved_fixtures: dict[str, Any]

    def __new__(
        cls,
        eval_fn: Callable[..., Any],
        dataset: Any,
        executor_name: str,
        column_spec: str,
        executor_kwargs: Mapping[str, Any] | None = None,
        resolved_fixtures: Mapping[str, Any] | None = None,
    ) -> Self:
        """Decorate `eval_fn`."""
        if executor_name != EXECUTOR:
            raise RuntimeError(f"Unknown executor type: {executor_name} (here is only {EXECUTOR!r})")
        made: Any = decorate(eval_fn, column_spec, dataset, None, None, None)
        made.executor_kwargs.update(executor_kwargs or {})
        made.resolved_fixtures.update(resolved_fixtures or {})
        return cast("Self", made)

    def __call__(self, session_manager: Any = None, samples: int | None = None, **others: Any) -> Any:
        """Run it; see `ForEach`."""
        raise NotImplementedError("an evaluation is a function: call the one that was decorated")


def decorate(
    function: Callable[..., Any],
    column_spec: str | Sequence[str],
    dataset: Any,
    limit: int | Limiter | None,
    retries: object,
    storage: Checkpointing | None,
) -> Callable[..., Any]:
    """Return the function that evaluates all rows. For the arguments see `ForEach`."""
    columns = Columns(column_spec, exact=False)
    run = _Made(_taking(function, columns.names), columns, dataset, limit, retries, storage)

    def evaluate(session_manager: Any = None, samples: int | None = None, **others: Any) -> Any:
        running = run(session_manager, samples, made.executor_kwargs | made.resolved_fixtures | others)
        return run_sync(running) if session_manager is None else running

    async def evaluate_async(
        session_manager: Any = None, samples: int | None = None, **others: Any
    ) -> EvaluationSummary:
        return await run(session_manager, samples, made.executor_kwargs | made.resolved_fixtures | others)

    made: Any = decorated.mark(evaluate_async if run.whole.is_async else evaluate, run.whole)
    made.eval_fn = function
    made.dataset = dataset
    made.executor_name = EXECUTOR
    made.column_spec = column_spec if isinstance(column_spec, str) else ",".join(column_spec)
    made.column_names = list(columns.names)
    made.executor_kwargs = {}
    made.resolved_fixtures = {}
    # dotevals.run() runs what has this attribute. No mark of dotevals': its pytest plugin would take the test over.
    made.pytestmark = list(getattr(made, "pytestmark", []))
    return cast("Callable[..., Any]", made)


class _Made:
    """A function with the options of its evaluation."""

    def __init__(
        self,
        function: Callable[..., Any],
        columns: Columns,
        dataset: Any,
        limit: int | Limiter | None,
        retries: object,
        storage: Checkpointing | None,
    ) -> None:
        self.whole = decorated.Evaluation(
            function, columns, dataset, limit=limit, retries=retries, storage=storage
        )
        self._function = function
        self._columns = columns
        self._dataset = dataset
        self._limit = limit
        self._retries = retries
        self._storage = storage
        self._own = {each.name for each in self.whole.parameters}

    def __call__(
        self, manager: Any, samples: int | None, others: dict[str, Any]
    ) -> Coroutine[Any, Any, EvaluationSummary]:
        """Return the run, after checking the arguments."""
        others.pop("progress_manager", None)  # handlers show progress
        options = {
            name: others.pop(name)
            for name in ("retries", "concurrency", "max_concurrency")
            if name in others and name not in self._own
        }
        if manager is None:
            # not with dotevals' storage, which rather records an error of each row, to be run again later
            self.whole.keywords((), others)
        limit = options.get("max_concurrency", options.get("concurrency"))
        return self._run(
            manager,
            samples,
            others,
            self._limit if limit is None else limit_of(limit),
            options.get("retries", self._retries),
        )

    async def _run(
        self, manager: Any, samples: int | None, others: dict[str, Any], limit: Any, retries: object
    ) -> EvaluationSummary:
        def over(dataset: Any, storage: Checkpointing | None) -> decorated.Evaluation:
            return decorated.Evaluation(
                self._function, self._columns, dataset, limit=limit, retries=retries, storage=storage
            )

        if manager is None:
            dataset = self._dataset if samples is None else Samples(self._dataset, samples).rows()
            return EvaluationSummary(map(record_of, await over(dataset, self._storage).run(others)))
        session = Session(manager)
        found = None
        try:
            found = await over(session.rows(self._dataset, samples), session).run(others)
        finally:
            summary = session.finish(found)
        return summary


def _taking(function: Callable[..., Any], columns: Sequence[str]) -> Callable[..., Any]:
    """Return `function` or, if it does not take the columns by name, a wrapper that does.

    The wrapper passes them to a function of ``*args`` by position; for any other, each row fails, as with dotevals.
    """
    parameters = inspect.signature(function).parameters.values()
    kinds = {each.kind for each in parameters}
    named = {each.name for each in parameters if each.kind in BY_NAME}
    if named.issuperset(columns) or (
        inspect.Parameter.VAR_KEYWORD in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds
    ):
        return function
    by_position = (
        () if named.intersection(columns) or inspect.Parameter.VAR_POSITIONAL not in kinds else columns
    )

    @functools.wraps(function)
    def call(**given: Any) -> Any:
        return function(*[given.pop(name) for name in by_position], **given)

    @functools.wraps(function)
    async def call_later(**given: Any) -> Any:
        return await call(**given)

    made: Any = call_later if inspect.iscoroutinefunction(function) else call
    others = (each for each in parameters if each.name not in columns)
    made.__signature__ = inspect.Signature(
        [
            *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in columns),
            *(each.replace(kind=each.KEYWORD_ONLY) for each in others if each.kind in BY_NAME),
            *(each for each in parameters if each.kind is each.VAR_KEYWORD),
        ]
    )
    return cast("Callable[..., Any]", made)
