"""Accounting of every span that was put in; it balances at every instant."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

__all__ = ["ExportCounts", "Ledger", "total"]


class ExportCounts(NamedTuple):
    """Spans by what became of them; ``exported + dropped + pending == produced`` in every such record.

    Attributes:
        produced: Put in by this process, or found in the spool of a process that is dead.
        exported: Acknowledged by the collector.
        dropped: Lost, for whatever reason.
        pending: Not sent yet, or not acknowledged yet.
        reasons: How many of the dropped, by reason.
        replayed: How many of the produced come from the spool of a dead process.
        unspooled: How many of the produced were kept in memory because the spool could not take them.
    """

    produced: int
    exported: int
    dropped: int
    pending: int
    reasons: Mapping[str, int]
    replayed: int = 0
    unspooled: int = 0


def total(counts: Iterable[ExportCounts]) -> ExportCounts:
    """Return the sums of several accounts."""
    sums = ExportCounts(0, 0, 0, 0, {})
    for one in counts:
        reasons = Counter(sums.reasons) + Counter(one.reasons)
        plain = {name: getattr(sums, name) + getattr(one, name) for name in _NUMBERS}
        sums = ExportCounts(reasons=dict(reasons), **plain)
    return sums


_NUMBERS = [name for name in ExportCounts._fields if name != "reasons"]


class Ledger:
    """Counts of spans by state, changed under one lock."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start afresh with no counts; in a forked child."""
        self._lock = (
            threading.Lock()
        )  # taken by itself where nobody waits: a condition is three times as slow
        self._changed = threading.Condition(self._lock)
        self._own = _Account()
        self._replayed = _Account()
        self._reasons: Counter[str] = Counter()
        self._unspooled = 0

    def put(self, count: int, *, replayed: bool = False) -> None:
        """Account for spans that have come in."""
        account = self._replayed if replayed else self._own
        with self._lock:
            account.produced += count
            account.pending += count

    def export(self, count: int, *, replayed: bool = False) -> None:
        """Move pending spans to the exported ones."""
        with self._changed:
            account = self._account(replayed)
            account.pending -= count
            account.exported += count
            self._changed.notify_all()

    def drop(self, count: int, reason: str, *, replayed: bool = False) -> bool:
        """Move pending spans to the dropped ones; True if they are the first to be dropped for that reason."""
        with self._changed:
            if not count:
                return False
            is_first = reason not in self._reasons
            account = self._account(replayed)
            account.pending -= count
            account.dropped += count
            self._reasons[reason] += count
            self._changed.notify_all()
            return is_first

    def unspooled(self, count: int) -> None:
        """Note that so many of the pending spans are in memory although there is a spool."""
        with self._changed:
            self._unspooled += count

    def counts(self) -> ExportCounts:
        """Return all counts as they are at one instant."""
        with self._changed:
            own, replayed = self._own, self._replayed
            return ExportCounts(
                produced=own.produced + replayed.produced,
                exported=own.exported + replayed.exported,
                dropped=own.dropped + replayed.dropped,
                pending=own.pending + replayed.pending,
                reasons=dict(self._reasons),
                replayed=replayed.produced,
                unspooled=self._unspooled,
            )

    @property
    def own(self) -> tuple[int, int]:
        """How many spans of this process's own were put in, and how many of them were dropped."""
        with self._changed:
            return self._own.produced, self._own.dropped

    @property
    def own_settled(self) -> int:
        """How many of the own spans are exported or dropped; read without the lock."""
        return self._own.settled

    def wait(self, produced: int, is_under_way: Callable[[int], bool], timeout: float) -> bool:
        """Wait until the first `produced` own spans are settled; False if that takes longer than `timeout` s.

        `is_under_way` returns whether one of the first so many is being sent: later ones may be settled before it.
        """
        with self._changed:
            return self._changed.wait_for(
                lambda: self._own.settled >= produced and not is_under_way(produced), max(0.0, timeout)
            )

    def _account(self, replayed: bool) -> _Account:
        return self._replayed if replayed else self._own


class _Account:
    __slots__ = ("dropped", "exported", "pending", "produced")

    def __init__(self) -> None:
        self.produced = self.exported = self.dropped = self.pending = 0

    @property
    def settled(self) -> int:
        return self.exported + self.dropped
