"""Results of an evaluation: a record for each row, and scores over all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any, Final, TypeGuard

import msgspec

__all__ = ["EvaluationRecord", "EvaluationResults", "Summary"]

VALUE: Final = "value"
"""Name of the score of a row whose value is a number."""
_NUMPY_BOOL: Final = frozenset({"bool", "bool_"})
"""Names of numpy's bool class, from 2.0 on and before; it is not registered as a number."""


class EvaluationRecord(msgspec.Struct, frozen=True, eq=False):
    """How one row went.

    Attributes:
        item_id: Position of the row in the dataset, from 0.
        row: What the function got from the dataset, by column.
        value: What it returned; ``None`` if it failed.
        error: The exception that it raised, itself; ``None`` if it returned.
        status: ``ok``, ``error``, ``timeout``, or ``skipped`` if the storage had its value.
        attempts: Tries made.
        run_s: Seconds that they took, pauses between them included.
    """

    item_id: int
    row: dict[str, Any]
    value: Any
    error: Exception | None
    status: str
    attempts: int
    run_s: float

    @property
    def ok(self) -> bool:
        """True if the function returned."""
        return self.error is None


class Summary(msgspec.Struct, frozen=True):
    """One score over all rows.

    Attributes:
        count: Rows that have the score.
        mean: Arithmetic mean; ``True`` counts as 1 and ``False`` as 0.
    """

    count: int
    mean: float


class EvaluationResults:
    """The records of one evaluation, in order of the dataset, and their scores.

    Args:
        name: Name of the function.
        results: The records.

    Attributes:
        name: As given.
        results: As given.
    """

    def __init__(self, name: str, results: Iterable[EvaluationRecord]) -> None:
        self.name = name
        self.results: list[EvaluationRecord] = list(results)

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[EvaluationRecord]:
        return iter(self.results)

    def __repr__(self) -> str:
        return f"<EvaluationResults {self.name}: {self}>"

    def __str__(self) -> str:
        means = [
            f"mean {summary.mean:.4g}" if name == VALUE else f"mean {name} {summary.mean:.4g}"
            for name, summary in self.summary().items()
        ]
        return ", ".join([f"{self.count} rows, {len(self.errors)} failed", *means])

    @property
    def count(self) -> int:
        """Rows, failed ones included."""
        return len(self.results)

    @property
    def errors(self) -> list[EvaluationRecord]:
        """Records of the rows that failed."""
        return [record for record in self.results if record.error is not None]

    @property
    def values(self) -> list[Any]:
        """Values of the rows that did not fail."""
        return [record.value for record in self.results if record.error is None]

    def summary(self) -> dict[str, Summary]:
        """Return count and mean of each score, by name, in order of appearance.

        A number or bool is the score ``value``. A mapping has a score for each number in it. An object with
        ``scores``, a list or tuple of objects with ``name`` and ``value``, has those. Failed rows have no score;
        `errors` has them, and `mean` can include them.
        """
        found: dict[str, list[float]] = {}
        for record in self.results:
            if record.error is None:
                for name, score in _scores_of(record.value):
                    found.setdefault(name, []).append(score)
        return {name: Summary(len(scores), _mean(scores)) for name, scores in found.items()}

    def mean(self, name: str | None = None, *, failed: float | None = None) -> float | None:
        """Return the mean of one score.

        Args:
            name: Which; by default the only one there is, or ``value`` among several.
            failed: Score to use for failed rows, such as 0; ``None`` to leave them out.

        Returns:
            The mean, or ``None`` if no row has the score.

        Raises:
            KeyError: there are several scores and none of that name.
        """
        summary = self.summary()
        if name is None:
            name = next(iter(summary)) if len(summary) == 1 else VALUE
        if name not in summary and summary:
            raise KeyError(f"there is no score {name!r}, but {', '.join(map(repr, summary))}")
        found = summary.get(name, Summary(0, 0.0))
        failures = 0 if failed is None else len(self.errors)
        if not found.count + failures:
            return None
        return (found.mean * found.count + (failed or 0.0) * failures) / (found.count + failures)

    def raise_errors(self) -> None:
        """Raise the errors of all rows together, if there are any.

        Raises:
            ExceptionGroup: the errors, in order of the rows.
        """
        errors = [record.error for record in self.results if record.error is not None]
        if errors:
            raise ExceptionGroup(f"{self.name}: {len(errors)} of {self.count} rows failed", errors)


def _scores_of(value: object) -> Iterator[tuple[str, float]]:
    """Yield name and number of each score in the value of a row; see `EvaluationResults.summary`."""
    if _is_number(value):
        yield VALUE, _float(value)
    elif isinstance(value, Mapping):
        for name, score in value.items():
            if _is_number(score):
                yield str(name), _float(score)
    else:
        scores = getattr(value, "scores", ())
        for each in scores if isinstance(scores, (list, tuple)) else ():
            score = getattr(each, "value", None)
            if _is_number(score):
                yield str(getattr(each, "name", VALUE)), _float(score)


def _is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number or a bool, Python's own or another library's: numpy's, a Fraction."""
    if isinstance(value, (bool, int, float, Real, Decimal)):
        return True
    kind = type(value)
    return kind.__module__ == "numpy" and kind.__name__ in _NUMPY_BOOL


def _mean(scores: list[float]) -> float:
    try:
        return math.fsum(scores) / len(scores)
    except (OverflowError, ValueError):  # infinities, or a sum that overflows
        return sum(scores) / len(scores)


def _float(score: float) -> float:
    try:
        return float(score)
    except OverflowError:  # an int of more than 308 digits
        return math.inf if score > 0 else -math.inf
    except ValueError:  # a signaling NaN of Decimal
        return math.nan
