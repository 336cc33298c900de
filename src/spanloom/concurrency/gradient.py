"""The rule by which an adaptive limiter finds its limit: measurements in, limits out, without clock or task.

Five published rules work together:

* **Gradient** (Netflix, concurrency-limits, ``GradientLimit``): with ``gradient = fastest / latency``, at most 1, the
  next limit is ``limit * gradient + sqrt(limit)``, and at least half the limit. (Netflix bounds the gradient itself by
  0.5: then a limit of 8 never falls, since its half and its root are more than 6.) Without a queue, the gradient is 1
  and the limit grows by its root; it settles where about that root of calls queue at the server.
* **Slow start** (TCP, RFC 5681, 3.1): until the first sign of congestion the limit doubles. If doubling
  it brings almost no throughput, that limit counts as failed.
* **Multiplicative decrease** on errors, with memory (CUBIC, RFC 9438, 4.6 and its W_max). Below a limit that has
  failed, the next one is half-way to it (the binary search of BIC, Xu, Harfoush and Rhee, INFOCOM 2004), or farther, if
  a higher one is known to do more (CUBIC's fast return, 4.4). Right below it the rule waits, twice as long after each
  further failure, or until the failed limit is known to do more than the present one: chance may make a good limit
  fail. For the same reason a higher limit that failed earlier is remembered, too. If calls were queueing before they
  failed, the limit falls below what the server holds without a queue, ``throughput * fastest`` (BBR's headroom after a
  loss, draft-ietf-ccwg-bbr, ``BBR.Headroom``): from a long queue, the factor alone might not leave the overload.
* **Probing for the fastest** (BBR's ProbeRTT, draft-cardwell-iccrg-bbr-congestion-control, 4.3.4.4): a limit that was
  always too high has never seen an idle server. So now and then the limit is lowered for one measurement. If that makes
  calls no faster, the server itself has become slower, and this latency is the new normal. If calls queue, and after a
  slow start that went too far, the probe comes sooner: on a server that overload slows down, the root of calls that the
  gradient lets queue costs throughput. The server holds at least ``throughput * fastest`` calls without a queue (BBR's
  bandwidth-delay product), and fewer than a limit under which calls queue: the probe tries their geometric mean. If the
  lower limit does as much, the one before counts as failed, and is approached in small steps. If errors have just
  lowered the limit as much, they were the probe (BBR skips one after an equally good sample, too).
* **Collapse** (TCP's retransmission timeout, RFC 5681, 3.1): a server that has lost its capacity may take too long to
  complete the calls of one measurement. When significantly fewer calls end than the limit is known to bring, the
  measurement ends at once, what was known is forgotten, and the limit becomes that geometric mean. Right after a step
  up, the step may be the cause: then the limit falls a little below where it was before, and nothing is forgotten.

Latency is measured as limit / throughput (Little's law): the mean duration of calls that have ended would leave out the
long ones. Its standard error is measured, too, and a difference within twice that error counts as none. `KnownLimits`
combines all measurements of a limit.

Source of the terms: https://github.com/Netflix/concurrency-limits and the RFCs named.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec

from spanloom.concurrency.evidence import (
    FINEST,
    Measurement,
    Seen,
    is_overload,
    is_steady,
    noise,
    pooled,
    throughput_of,
)
from spanloom.concurrency.known import KnownLimits

__all__ = ["Change", "GradientRule"]

STEEPEST: Final = 0.5
"""Least share of the limit that the gradient leaves, or the withdrawal of a growth that lowered the throughput."""
SEVERE: Final = 0.7
"""Gradient below which the limit falls without waiting for further measurements."""
HEADROOM: Final = 0.85
"""Largest share of what the server holds without a queue that is left when calls fail, as in BBR after a loss."""
PROBE_SHARE: Final = 0.7
"""Share of the limit during a regular probe."""
PROBE_EVERY: Final = 30
"""Measurements from probe to probe: the probes cost 1 % of the throughput."""
QUEUED: Final = 0.9
"""Gradient below which a steady limit is probed sooner: the queue may be what makes the server slow."""
LEAST_LEFT: Final = 0.2
"""Least share of the limit left by a collapse: too few calls have ended to justify less."""
PATIENCE: Final = 3
"""Measurements before such an early probe, at first; doubled by each probe that brings nothing."""
LONGEST_HOLD: Final = 3
"""Most doublings of the wait before a failed limit is tried again."""
SLOW_START_GAIN: Final = 0.3
"""Share of the limit's relative growth that the throughput must show; else the limit before was too high already."""


class Change(NamedTuple):
    """The next limit, and the reason; no reason if the limit stays."""

    limit: int
    reason: str


class GradientRule(msgspec.Struct, eq=False):
    """Compute the next limit, measurement by measurement. See the module for the rule.

    Attributes:
        minimum, maximum: Bounds of the limit.
        increase_threshold: The limit grows on only while the throughput is above this share of the one before.
        decrease_threshold: If the throughput falls below this share of the one before, the growth is taken back.
        stability_window: Measurements that must agree before the limit changes its direction.
        error_backoff_factor: Factor on the limit when calls fail.
        error_tolerance: Share of errors that is no sign of overload.
    """

    minimum: int
    maximum: int
    increase_threshold: float = 0.98
    decrease_threshold: float = 0.90
    stability_window: int = 3
    error_backoff_factor: float = 0.7
    error_tolerance: float = 0.05

    _fastest: Seen | None = None
    _previous: Seen | None = None
    _known: KnownLimits = msgspec.field(default_factory=KnownLimits)
    _slow_start: bool = True
    _grown: int = 0
    """Times in a row that the limit has grown."""
    _last: int = 0
    """Direction of the last change: 1 up, -1 down."""
    _agreeing: int = 0
    """Measurements in a row that would turn the direction."""
    _failed: int | None = None
    """The limit that failed last."""
    _failed_above: tuple[int, int] | None = None
    """A higher limit that had failed before it, and `_failures` then."""
    _failures: int = 0
    """Failures in a row."""
    _hold: int = 0
    """Measurements to wait before `_failed` is tried again."""
    _until_probe: int = PROBE_EVERY
    _patience: int = PATIENCE
    """Measurements from probe to probe while calls queue."""
    _probing: Seen | None = None
    """The measurement before a probe, during the probe."""

    @property
    def has_grown(self) -> bool:
        """Whether the last change raised the limit."""
        return self._last > 0

    def is_overload(self, started: int, errors: int) -> bool:
        """Tell whether the errors are significantly more than those tolerated."""
        return is_overload(started, errors, self.error_tolerance)

    def next(self, measured: Measurement) -> Change:
        """Return the limit to have after `measured`."""
        limit = measured.limit
        if self.is_overload(measured.started, measured.errors):
            wanted = min(limit * self.error_backoff_factor, HEADROOM * self._held_without_queue(limit))
            self._known.drop(limit)
            return self._back_off(limit, wanted, "errors")
        if not measured.is_full or not measured.throughput:
            self._previous = None  # too few calls were made: the server was not the bottleneck
            return Change(limit, "")
        seen = Seen(limit, limit / measured.throughput, max(FINEST, measured.deviation))
        previous = self._previous
        self._previous = seen = self._remember(seen)
        if self._probing is not None:
            return self._after_probe(self._probing, seen)
        gain: float | None = None
        if previous is not None and previous.limit < limit and self._last > 0:
            gain = throughput_of(seen) / throughput_of(previous)
            if gain * (1 + noise(previous, seen)) < self.decrease_threshold:
                return self._back_off(limit, max(previous.limit, limit * STEEPEST), "throughput fell")
        better = self._known.better(seen)
        if better is not None and self._probing is None:
            return self._back_off(limit, better.limit, "throughput fell")
        if previous is not None and self._was_in_vain(previous, seen, gain):
            return self._back_off(limit, (previous.limit + limit) // 2, "throughput fell")
        if self._failed is not None and limit >= self._failed:
            self._pass(limit)
        fastest = self._look_for_fastest(seen)
        queueless = fastest.latency_s / seen.latency_s
        gradient = min(1.0, queueless * (1 + noise(fastest, seen)))
        if self._slow_start:
            return self._start_slowly(previous, seen, gradient, gain)
        lower = self._to_probe(previous, seen, queueless)
        if lower < limit:
            return self._probe(seen, lower)
        return self._steer(previous, seen, gradient, gain)

    def expected(self, limit: int) -> float:
        """Return the least throughput to expect of `limit`; 0 if nothing is known. See `KnownLimits.expected`."""
        return self._known.expected(limit)

    def collapsed(self, measured: Measurement) -> Change:
        """Return the limit to have after `measured`, which was cut short by a collapse; see the module."""
        limit, previous = measured.limit, self._previous
        if previous is not None and previous.limit < limit and self._last > 0:
            # The step may be the cause. If the server is, the next measurement collapses again.
            wanted = max(previous.limit * self.error_backoff_factor, limit * STEEPEST)
            return self._back_off(limit, wanted, "throughput fell")
        fastest_s = limit / measured.throughput if self._fastest is None else self._fastest.latency_s
        middle = math.sqrt(limit * measured.throughput * fastest_s)
        self._known.forget()
        self._patience = PATIENCE
        self._failed, self._failed_above, self._failures = None, None, 0
        self._previous = None
        return self._back_off(limit, max(limit * LEAST_LEFT, middle), "throughput fell")

    def moved(self) -> None:
        """Note that other code has changed the limit: the next measurement does not judge a step of this rule."""
        self._previous = self._probing = None
        self._agreeing = self._grown = self._last = 0

    # the parts ------------------------------------------------------------------------------------------

    def _remember(self, seen: Seen) -> Seen:
        """Add a measurement, and return the mean of all of this limit since the server last changed."""
        seen, has_changed = self._known.add(seen)
        if has_changed:
            self._patience = PATIENCE
        return seen

    def _held_without_queue(self, limit: int) -> float:
        """Return how many calls the server holds without a queue; infinite if none were seen to queue.

        Infinite during slow start, too: limits known so far below may not have used the whole server.
        """
        fastest = self._fastest
        if self._slow_start or fastest is None or not self._known.has_queued(limit, fastest):
            return math.inf
        return self._known.most(limit) * fastest.latency_s

    def _was_in_vain(self, previous: Seen, seen: Seen, gain: float | None) -> bool:
        """Tell whether the growth of the limit made calls slower, without more throughput.

        A growth by one slot is judged only if that limit failed before: one slot brings less than chance takes away.
        """
        return (
            gain is not None
            and gain < 1
            and not self._slow_start
            and (seen.limit - previous.limit > 1 or seen.limit == self._failed)
            and seen.latency_s > previous.latency_s * (1 + noise(previous, seen))
        )

    def _look_for_fastest(self, seen: Seen) -> Seen:
        fastest = self._fastest
        if fastest is None or seen.latency_s < fastest.latency_s * (1 - noise(fastest, seen)):
            self._fastest = fastest = seen
        elif self._slow_start and seen.latency_s < fastest.latency_s * (1 + noise(fastest, seen)):
            self._fastest = fastest = pooled(fastest, seen)
        return fastest

    def _start_slowly(self, previous: Seen | None, seen: Seen, gradient: float, gain: float | None) -> Change:
        if (
            previous is not None
            and gain is not None
            and gain < 1 + SLOW_START_GAIN * (seen.limit / previous.limit - 1)
        ):
            self._slow_start = False
            self._until_probe = 1  # perhaps the first limit was too high, too
            self._fail(seen.limit)
            return self._to(seen.limit, previous.limit + math.sqrt(previous.limit), "slow start is over")
        if gradient >= SEVERE:
            return self._to(seen.limit, self._below_failed(seen.limit, 2 * seen.limit), "slow start")
        self._slow_start = False
        return self._to(seen.limit, _wanted(seen.limit, gradient), "latency")

    def _steer(self, previous: Seen | None, seen: Seen, gradient: float, gain: float | None) -> Change:
        wanted = _wanted(seen.limit, gradient)
        slack = max(1.0, math.sqrt(seen.limit) / 2)  # else noise would move a limit that is right
        slack = min(slack, seen.limit / 2)  # else a single slot would never become two
        if wanted <= seen.limit - slack:
            return self._shrink(previous, seen, wanted, severe=gradient < SEVERE)
        if wanted >= seen.limit + slack:
            return self._grow(seen, wanted, gain)
        self._agreeing = 0
        return Change(seen.limit, "")

    def _grow(self, seen: Seen, wanted: float, gain: float | None) -> Change:
        if gain is not None and gain < self.increase_threshold * (1 - seen.deviation):
            return Change(seen.limit, "")
        if self._last < 0 and not self._agreed():
            return Change(seen.limit, "")
        if self._failed is not None and seen.limit >= self._failed - 1:
            if self._hold > 0 and not self._known.does_more(self._failed, seen):
                self._hold -= 1
                return Change(seen.limit, "")
            return self._to(seen.limit, self._failed, "try again")
        if self._grown >= self.stability_window and self._failed is None:
            wanted = 2 * seen.limit  # it seems to be far from the server's limit
        return self._to(seen.limit, self._below_failed(seen.limit, wanted), "room")

    def _below_failed(self, limit: int, wanted: float) -> float:
        if self._failed is None:
            return wanted
        half_way: float = limit + max(1, (self._failed - limit) // 2)
        worked = self._known.worked(limit, self._failed)
        if worked is not None:
            half_way = max(half_way, min(worked, wanted))
        return half_way if self._failed <= 2 * limit else min(wanted, half_way)

    def _shrink(self, previous: Seen | None, seen: Seen, wanted: float, *, severe: bool) -> Change:
        if not severe and self._last > 0 and not self._agreed():
            return Change(seen.limit, "")
        if severe and self._last > 0:
            self._fail(seen.limit)
        # Do calls queue, or has the server become slower? The next measurement tells, if this one is sound: one taken
        # while the server changed mixes both.
        stayed = previous is not None and previous.limit == seen.limit
        sound = is_steady(previous, seen) if stayed else self._last < 0
        self._probing = seen if sound else None
        return self._to(seen.limit, wanted, "latency")

    def _agreed(self) -> bool:
        self._agreeing += 1
        return self._agreeing >= self.stability_window

    def _back_off(self, limit: int, wanted: float, reason: str) -> Change:
        if self._slow_start:
            self._slow_start = False
            self._until_probe = 1  # perhaps what it falls back to is too high, too
        elif reason == "errors" and wanted <= limit * PROBE_SHARE:
            self._until_probe = PROBE_EVERY  # a regular probe would go no lower
        self._probing = None
        self._fail(limit)
        change = self._to(limit, min(math.floor(wanted), limit - 1), reason)
        self._last = 0  # growing again is no change of direction: what has failed is remembered
        return change

    def _fail(self, limit: int) -> None:
        if self._failed is not None and limit < self._failed:
            self._failed_above = (self._failed, self._failures)
        self._failed = limit
        self._failures += 1
        self._wait()

    def _pass(self, limit: int) -> None:
        """Note that `limit` works; it is the failed one, or above it."""
        above, self._failed_above = self._failed_above, None
        self._failed, self._failures, self._grown = None, 0, 0
        if above is not None and above[0] > limit:
            self._failed, self._failures = above
            self._wait()

    def _wait(self) -> None:
        self._hold = self.stability_window << min(self._failures - 1, LONGEST_HOLD)

    def _to_probe(self, previous: Seen | None, seen: Seen, queueless: float) -> int:
        """Return the limit to probe now; the present one if no probe is due."""
        self._until_probe -= 1
        if self._until_probe <= 0:
            return round(seen.limit * PROBE_SHARE)  # rounded: 3 of 4, not 2
        waited = self._until_probe <= PROBE_EVERY - self._patience
        if not (waited and queueless < QUEUED and is_steady(previous, seen)):
            return seen.limit
        return round(math.sqrt(seen.limit * self._known.most(seen.limit) * queueless * seen.latency_s))

    def _probe(self, seen: Seen, lower: int) -> Change:
        self._until_probe = PROBE_EVERY
        self._probing = seen
        return self._to(seen.limit, lower, "probe")

    def _after_probe(self, before: Seen, seen: Seen) -> Change:
        """Compare the measurement of a probe with the one before it, at a higher limit."""
        self._probing = None
        self._patience = min(2 * self._patience, PROBE_EVERY)
        if seen.limit >= before.limit:
            return Change(seen.limit, "")
        slower = seen.latency_s / before.latency_s
        if slower > 1 + noise(
            before, seen
        ):  # slower with fewer calls: the server has changed meanwhile, so measure again
            self._last = -1
            return Change(seen.limit, "")
        if slower > math.sqrt(seen.limit / before.limit):  # with a queue, latency would fall like the limit
            self._fastest = (
                seen  # it hardly fell, so nothing queued: this is the fastest that the server can be now
            )
            self._last = 0
            return self._to(seen.limit, before.limit, "no queue")
        fastest = self._fastest
        self._until_probe = PROBE_EVERY
        if fastest is None or seen.latency_s < fastest.latency_s:
            self._fastest = seen
            if fastest is None or seen.latency_s < fastest.latency_s * (1 - noise(fastest, seen) / 2):
                self._until_probe = 1  # there may still be a queue
        if throughput_of(seen) >= throughput_of(before):
            self._fail(before.limit)  # so that the limit grows back in small steps
            self._patience = PATIENCE
        self._last = -1
        return Change(seen.limit, "")  # less does as much

    def _to(self, limit: int, wanted: float, reason: str) -> Change:
        new = max(self.minimum, min(self.maximum, round(wanted)))
        self._agreeing = 0
        if new == limit:
            self._probing = None
            return Change(limit, "")
        self._last = 1 if new > limit else -1
        self._grown = self._grown + 1 if new > limit else 0
        return Change(new, reason)


def _wanted(limit: int, gradient: float) -> float:
    return max(limit * STEEPEST, limit * gradient + math.sqrt(limit))
