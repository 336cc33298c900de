"""A session manager of dotevals' in place of a checkpoint: it knows what is done, and gets the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanloom.compat._dotevals.records import EvaluationSummary, record_of
from spanloom.compat._dotevals.samples import Samples
from spanloom.evaluation.results import EvaluationRecord, EvaluationResults

__all__ = ["Session"]


class Session:
    """One run of an evaluation under a session manager. The engine uses it as a checkpoint.

    Args:
        manager: Has ``start_evaluation``, ``get_results``, ``add_results``, ``finish_evaluation`` and a ``storage``.

    Attributes:
        grace_s: ``None``: Ctrl-C is left alone.
    """

    grace_s: float | None = None

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._ids: list[int] = []
        self._rows: list[dict[str, Any]] = []

    def rows(self, dataset: Any, samples: int | None) -> Any:
        """Return the rows that are not done, lazily; failed ones are reset, to be run again.

        Args:
            dataset: The rows: any iterable or async iterable.
            samples: How many to yield at most; ``None`` for all.
        """
        manager, storage = self._manager, self._manager.storage
        manager.start_evaluation()
        place = manager.current_experiment, manager.current_evaluation
        done = set(storage.completed_items(*place))
        again = {record.item_id for record in manager.get_results()} - done
        if again:
            storage.remove_error_results_batch(*place, list(again))
        left = Samples(dataset, samples, done)
        self._ids = left.numbers
        return left.rows()

    def finish(self, found: EvaluationResults | None) -> EvaluationSummary:
        """Store the failed rows, and return all records, in order of the dataset.

        Args:
            found: The results; ``None`` if the run was cancelled or failed.
        """
        if found is None:
            self._manager.finish_evaluation(success=False)
            return EvaluationSummary([])
        failed = [self._record(record) for record in found.errors]
        if failed:
            self._manager.add_results(failed)
        self._manager.finish_evaluation(success=True)
        return EvaluationSummary(sorted(self._manager.get_results(), key=lambda record: record.item_id))

    def _record(self, record: EvaluationRecord) -> Any:
        number = self._ids[record.item_id]
        return record_of(
            EvaluationRecord(number, record.row, record.value, record.error, record.status, 1, record.run_s)
        )

    # as a checkpoint and its log ----------------------------------------------------------------------------

    async def open(self, function: Any, total: int | None) -> Session:
        """Return this session."""
        return self

    def key_of(self, item: Any) -> object:
        """Return the position of the next row among those that run."""
        self._rows.append(item)
        return len(self._rows) - 1

    async def find(self, keys: Sequence[Any]) -> list[tuple[object] | None]:
        """Find nothing: rows that are done have been left out already."""
        return [None] * len(keys)

    async def store(self, key: Any, value: object) -> None:
        """Store the value of a row."""
        self._manager.add_results(
            [self._record(EvaluationRecord(key, self._rows[key], value, None, "ok", 1, 0.0))]
        )

    async def close(self) -> None:
        """Do nothing; see `finish`."""

    def abandon(self) -> None:
        """Do nothing; see `finish`."""
