"""Results of an evaluation, with dotevals' names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from spanloom.evaluation.results import EvaluationRecord, EvaluationResults
from spanloom.processing.result import text_of

__all__ = ["EvaluationSummary", "Record", "StoredResult", "record_of"]


class StoredResult(msgspec.Struct, frozen=True, eq=False):
    """What a storage of dotevals' needs of a row whose function did not return a dotevals ``Result``.

    Attributes:
        scores: Each with ``name``, ``value``, ``metrics`` and ``metadata``.
        prompt, model_response, error: Unknown here.
    """

    scores: list[Any]
    prompt: str | None = None
    model_response: str | None = None
    error: str | None = None


class _Value(msgspec.Struct, frozen=True):
    name: str
    value: Any
    metrics: tuple[Any, ...] = ()
    metadata: dict[str, Any] = {}


class Record(msgspec.Struct, frozen=True, eq=False):
    """How one row went.

    Attributes:
        item_id: Position of the row in the dataset, from 0.
        value: What the function returned; ``None`` if it failed.
        error: ``"TypeName: text"`` of what it raised, or the ``error`` of what it returned; otherwise ``None``.
        dataset_row: What the function got from the dataset, by column.
        exception: The exception that it raised, itself; ``None`` if it returned.
        timestamp: When the record was made, in seconds since the epoch.
        dataset_name, dataset_class: Always ``None``; storages of dotevals' ask for them.
    """

    item_id: int
    value: Any
    error: str | None
    dataset_row: dict[str, Any]
    exception: Exception | None = None
    timestamp: float = msgspec.field(default_factory=time.time)
    dataset_name: str | None = None
    dataset_class: str | None = None

    @property
    def result(self) -> Any:
        """`value`, with its scores in a list: one without scores becomes the score ``value``; a failed row has none."""
        value = self.value
        if isinstance(getattr(value, "scores", None), (list, tuple)):
            return value
        if self.exception is not None:
            return StoredResult([], prompt="")
        is_score = hasattr(value, "metrics") and hasattr(value, "name") and hasattr(value, "value")
        return StoredResult([value if is_score else _Value("value", value)])

    @property
    def scores(self) -> list[Any]:
        """Those of `result`."""
        return list(self.result.scores)

    @property
    def prompt(self) -> Any:
        """That of `result`, if it has one."""
        return getattr(self.result, "prompt", None)

    @property
    def model_response(self) -> Any:
        """That of `result`, if it has one."""
        return getattr(self.result, "model_response", None)


def record_of(record: EvaluationRecord) -> Record:
    """Return a record of ours as one of dotevals'."""
    error = record.error
    if error is not None:
        return Record(record.item_id, None, text_of(error, None), record.row, error)
    said = getattr(record.value, "error", None)
    return Record(record.item_id, record.value, None if said is None else str(said), record.row)


class EvaluationSummary:
    """The records of one evaluation, and its metrics.

    Args:
        results: The records.

    Attributes:
        results: As given.
        summary: By name of the score and of the metric: what the score's own ``metrics`` say of its values, a row that
            failed counting as ``False``; for scores without metrics their ``mean`` and ``count``, failed rows left out.
    """

    def __init__(self, results: Iterable[Any]) -> None:
        self.results: list[Any] = list(results)
        self.summary: dict[str, dict[str, Any]] = self.compute_summary()

    def compute_summary(self) -> dict[str, dict[str, Any]]:
        """Compute `summary` anew from the current records."""
        found: dict[str, dict[str, Any]] = {}
        for name, metric, values in _measured(self.results):
            found.setdefault(name, {})[getattr(metric, "__name__", str(metric))] = metric(values)
        sound = [
            EvaluationRecord(record.item_id, {}, _result(record), None, "ok", 1, 0.0)
            for record in self.results
            if record.error is None
        ]
        for name, score in EvaluationResults("", sound).summary().items():
            found.setdefault(name, {"mean": score.mean, "count": score.count})
        return found

    def __str__(self) -> str:
        failed = sum(record.error is not None for record in self.results)
        shown = [f"{name} {key} {value}" for name, of in self.summary.items() for key, value in of.items()]
        return ", ".join([f"{len(self.results)} rows, {failed} failed", *shown])


def _measured(records: Sequence[Any]) -> Iterable[tuple[str, Callable[[list[Any]], Any], list[Any]]]:
    """Yield each metric with the name of its score and the values of all rows."""
    rows = [
        None if record.error is not None else {_name(score): score for score in _result(record).scores}
        for record in records
    ]
    for name, score in next((scores for scores in rows if scores), {}).items():
        values = [
            False if scores is None else getattr(scores[name], "value", scores[name])
            for scores in rows
            if scores is None or name in scores
        ]
        for metric in getattr(score, "metrics", None) or ():
            yield name, metric, values


def _result(record: Any) -> Any:
    """Return the object with the scores; a record of dotevals 0.28 has them itself."""
    return getattr(record, "result", record)


def _name(score: object) -> str:
    return str(getattr(score, "name", "value"))
