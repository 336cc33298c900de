"""What is known of the limits that an adaptive limiter has had since its server last changed."""

from __future__ import annotations

from typing import Final

from spanloom.concurrency.evidence import Seen, apart, noise, pooled, throughput_of

__all__ = ["KnownLimits"]

CERTAIN: Final = 1.5
"""Times the noise, which is two standard errors, by which a limit that does not do what it did proves a new server."""
REMEMBERED: Final = 16
"""Limits of which it is remembered what they did."""


class KnownLimits:
    """The mean of all measurements of each limit; those seen last are kept.

    They count together until the server has changed: one measurement is more than three standard errors off, or two
    in a row are more than two. (The rules of Western Electric's Statistical Quality Control Handbook, 1956. If one at
    two standard errors were enough, chance would have all forgotten at every twentieth measurement.)
    """

    __slots__ = ("_in_doubt", "_seen")

    def __init__(self) -> None:
        self._seen: dict[int, Seen] = {}
        """By limit; those seen last at the end."""
        self._in_doubt = False
        """Whether a limit did not do what it had done, the last time that one was compared."""

    def add(self, seen: Seen) -> tuple[Seen, bool]:
        """Return what is known of this limit now, and whether the server has changed: then, all else is forgotten."""
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
        """Forget what `limit` did: it does so no more."""
        self._seen.pop(limit, None)

    def forget(self) -> None:
        """Know nothing."""
        self._seen.clear()
        self._in_doubt = False

    def expected(self, limit: int) -> float:
        """Return the throughput that `limit` brings at least, by what is known of it and of others; 0 if nothing is.

        A lower limit has brought it already. A higher one brings it in proportion: it may have held a queue.
        """
        return max(
            (throughput_of(seen) * min(1.0, limit / seen.limit) for seen in self._seen.values()), default=0.0
        )

    def most(self, limit: int) -> float:
        """Return the highest throughput of `limit`, which is known, and those below it."""
        return max(throughput_of(seen) for seen in self._seen.values() if seen.limit <= limit)

    def better(self, seen: Seen) -> Seen | None:
        """Return a lower limit that is known to do more, if there is one.

        By one standard error only: if that was chance, both do much the same, and the lower one keeps no queue.
        """
        best = max(self._seen.values(), key=throughput_of)
        if best.limit < seen.limit and throughput_of(best) > throughput_of(seen) * (
            1 + noise(best, seen) / 2
        ):
            return best
        return None

    def does_more(self, limit: int, seen: Seen) -> bool:
        """Tell whether `limit` is known to do more than `seen`."""
        known = self._seen.get(limit)
        return known is not None and throughput_of(known) > throughput_of(seen)

    def worked(self, limit: int, failed: int) -> int | None:
        """Return the highest limit below `failed` that is known to do more than `limit`, which is known and lower."""
        done = throughput_of(self._seen[limit])
        return max(
            (
                seen.limit
                for seen in self._seen.values()
                if limit < seen.limit < failed and throughput_of(seen) > done
            ),
            default=None,
        )
