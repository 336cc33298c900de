"""What an adaptive limiter knows of limits that it has tried since its server last changed."""

from __future__ import annotations

from typing import Final

from spanloom.concurrency.evidence import Seen, apart, noise, pooled, throughput_of

__all__ = ["KnownLimits"]

CERTAIN: Final = 1.5
"""Difference in units of `noise` (2 standard errors), above which one measurement proves a change of the server."""
REMEMBERED: Final = 16
"""Limits kept."""


class KnownLimits:
    """The mean of all measurements of each limit; of the limits measured last.

    Measurements are averaged until the server has changed: one is more than three standard errors off, or two in a row
    are more than two off. (The rules of Western Electric's Statistical Quality Control Handbook, 1956. If one at two
    standard errors were enough, chance would discard everything at every twentieth measurement.)
    """

    __slots__ = ("_in_doubt", "_seen")

    def __init__(self) -> None:
        self._seen: dict[int, Seen] = {}
        """By limit; the one measured last at the end."""
        self._in_doubt = False
        """Whether the last comparison was more than two standard errors off."""

    def add(self, seen: Seen) -> tuple[Seen, bool]:
        """Add a measurement; return the new mean of its limit, and whether the server has changed.

        If it has, all earlier measurements are forgotten.
        """
        known = self._seen.pop(seen.limit, None)
        has_changed = False
        if known is not None:
            differs = apart(known, seen)
            has_changed = differs > CERTAIN or (differs > 1 and self._in_doubt)
            if has_changed:
                self.forget()
            else:
                self._in_doubt = differs > 1
                seen = pooled(known, seen)
        self._seen[seen.limit] = seen
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return seen, has_changed

    def drop(self, limit: int) -> None:
        """Forget the measurements of `limit`: they no longer hold."""
        self._seen.pop(limit, None)

    def forget(self) -> None:
        """Forget all measurements."""
        self._seen.clear()
        self._in_doubt = False

    def expected(self, limit: int) -> float:
        """Return the least throughput to expect of `limit`, by what is known of all limits; 0 if nothing is.

        At least that of any lower limit, and of a higher limit its share in proportion: there, calls may have queued.
        """
        return max(
            (throughput_of(seen) * min(1.0, limit / seen.limit) for seen in self._seen.values()), default=0.0
        )

    def most(self, limit: int) -> float:
        """Return the highest throughput of the known limits up to `limit`; there must be one."""
        return max(throughput_of(seen) for seen in self._seen.values() if seen.limit <= limit)

    def has_queued(self, limit: int, fastest: Seen) -> bool:
        """Tell whether calls queued under the highest known limit up to `limit`.

        One standard error suffices: after a chance result, the limit only falls a little too far.
        """
        below = max((known for known in self._seen if known <= limit), default=None)
        if below is None:
            return False
        seen = self._seen[below]
        return seen.latency_s > fastest.latency_s * (1 + noise(fastest, seen) / 2)

    def better(self, seen: Seen) -> Seen | None:
        """Return a lower limit that is known to have more throughput, if there is one.

        One standard error suffices: if it was chance, both do much the same, and the lower one has no queue.
        """
        lower = (known for known in self._seen.values() if known.limit < seen.limit)
        best = max(lower, key=throughput_of, default=None)
        if best is None or throughput_of(best) <= throughput_of(seen) * (1 + noise(best, seen) / 2):
            return None
        return best

    def does_more(self, limit: int, seen: Seen) -> bool:
        """Tell whether `limit` is known to have more throughput than `seen`."""
        known = self._seen.get(limit)
        return known is not None and throughput_of(known) > throughput_of(seen)

    def worked(self, limit: int, failed: int) -> int | None:
        """Return the highest limit between `limit`, which must be known, and `failed` that has more throughput."""
        done = throughput_of(self._seen[limit])
        return max(
            (
                seen.limit
                for seen in self._seen.values()
                if limit < seen.limit < failed and throughput_of(seen) > done
            ),
            default=None,
        )
