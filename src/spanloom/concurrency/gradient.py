"""The rule by which an adaptive limiter finds its limit: measurements in, limits out, and no clock or task.

Five published rules work together:

* **Gradient** (Netflix, concurrency-limits, ``GradientLimit``): with ``gradient = fastest / latency``, at most 1, the
  next limit is ``limit * gradient + sqrt(limit)``, and at least half the limit. (Netflix holds the gradient itself
  above 0.5: then a limit of 8 never falls, since half of it and its root are more than 6.) While nothing queues, the
  gradient is 1 and the limit grows by its root; it settles where what queues at the server is about that root.
* **Slow start** (TCP, RFC 5681, 3.1): until the first sign of congestion the limit doubles.
* **Multiplicative decrease** on errors, and the memory of where they came (CUBIC, RFC 9438, 4.6 and its W_max): below
  the limit that has failed, the next one is half-way between the present one and that (the binary search of BIC, Xu,
  Harfoush and Rhee, INFOCOM 2004), or farther, if it is known to do more (CUBIC's quick way back, 4.4); on its doorstep
  the rule waits, twice as long after each time that it failed again, or until it is known to do more than the present
  one: chance may call a limit a failure that was none. So a higher limit that failed before is remembered as well.
* **Probing for the fastest** (BBR's ProbeRTT, draft-cardwell-iccrg-bbr-congestion-control, 4.3.4.4): a limit that has
  always been too high has never seen an idle server. Once in a while the limit is lowered for one measurement. If that
  makes the calls no faster, then it is the server that became slower, and the latency seen is the new normal. Where
  calls queue, and after a slow start that went too far, the probe comes sooner: on a server that overload makes slow,
  the root that the gradient lets queue costs throughput. What the server holds without a queue is at least
  ``throughput * fastest`` (BBR's bandwidth-delay product), and less than a limit under which calls queue: the probe
  tries their geometric mean. If less does as much, the limit before counts as failed, and is approached in small steps.
  Where errors have just taken as much away, they were the probe (BBR leaves one out after a sample as good, too).
* **Collapse** (TCP's retransmission timeout, RFC 5681, 3.1): a server that has lost its capacity may need longer for
  the calls of one measurement than the measurement is worth. When far fewer calls end than the limit is known to
  bring, and chance does not explain it, the measurement ends at once, what was known is forgotten, and the limit
  becomes that geometric mean.

Latency is measured as limit / throughput (Little's law): the mean duration of the calls that have ended so far would
leave out those that take long. How exact it is, is measured as well, and a difference within twice the error is none.
`KnownLimits` has what all measurements of a limit say together.

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
"""What is left of a limit at least: one measurement never more than halves it."""
SEVERE: Final = 0.7
"""A gradient below which nobody waits for a second measurement."""
PROBE_SHARE: Final = 0.7
"""What is left of the limit while the rule probes."""
PROBE_EVERY: Final = 30
"""Measurements from probe to probe: the probes cost 1 % of the throughput."""
QUEUED: Final = 0.9
"""A gradient below which a limit at rest is probed sooner: what queues may be what makes the server slow."""
LEAST_LEFT: Final = 0.2
"""What is left of a limit at least after that: the calls that ended were too few to believe in less."""
PATIENCE: Final = 3
"""Measurements until then at first; twice as many after each probe that has brought nothing."""
LONGEST_HOLD: Final = 3
"""Doublings of the wait before a limit that has failed is tried again."""
SLOW_START_GAIN: Final = 0.3
"""What share of the limit's growth must be found in the throughput's, or the limit was too high before."""


class Change(NamedTuple):
    """A limit, and why; no reason if it is the one that it was."""

    limit: int
    reason: str


class GradientRule(msgspec.Struct, eq=False):
    """Says, measurement by measurement, what the limit should be next. See the module for the rule.

    Attributes:
        minimum, maximum: Bounds of the limit.
        increase_threshold: A limit may only grow while the throughput is more than this share of the one before.
        decrease_threshold: A throughput below this share of the one before, after the limit has grown, takes that back.
        stability_window: Measurements that must agree before the limit changes its direction.
        error_backoff_factor: What is left of the limit when calls fail.
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
    """Lowest limit that did not work."""
    _failed_above: tuple[int, int] | None = None
    """A higher one that had not worked when that failed, and the failures then."""
    _failures: int = 0
    _hold: int = 0
    """Measurements to wait before `_failed` is tried again."""
    _until_probe: int = PROBE_EVERY
    _patience: int = PATIENCE
    """Measurements from probe to probe while calls queue."""
    _probing: Seen | None = None
    """What was seen before a probe, while one is on."""

    @property
    def has_grown(self) -> bool:
        """Whether the limit was raised when it last changed: what it was before has worked."""
        return self._last > 0

    def is_overload(self, started: int, errors: int) -> bool:
        """Tell whether so many errors are more than those tolerated, and no chance."""
        return is_overload(started, errors, self.error_tolerance)

    def next(self, measured: Measurement) -> Change:
        """Return the limit to have after `measured`."""
        limit = measured.limit
        if self.is_overload(measured.started, measured.errors):
            self._known.drop(limit)
            return self._back_off(limit, limit * self.error_backoff_factor, "errors")
        if not measured.is_full or not measured.throughput:
            self._previous = None  # nobody wanted more: what was seen is not the server's limit
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
        """Return the throughput that `limit` brings at least, by what is known; 0 if nothing is."""
        return self._known.expected(limit)

    def collapsed(self, measured: Measurement) -> Change:
        """Return the limit to have after `measured`, which was cut short since far fewer calls ended than expected."""
        limit = measured.limit
        fastest_s = limit / measured.throughput if self._fastest is None else self._fastest.latency_s
        middle = math.sqrt(limit * measured.throughput * fastest_s)
        self._known.forget()
        self._patience = PATIENCE
        self._failed, self._failed_above, self._failures = None, None, 0
        self._previous = None
        return self._back_off(limit, max(limit * LEAST_LEFT, middle), "throughput fell")

    def moved(self) -> None:
        """Take note that somebody else has changed the limit: what comes next is no answer to a step of this rule."""
        self._previous = self._probing = None
        self._agreeing = self._grown = self._last = 0

    # the parts ------------------------------------------------------------------------------------------

    def _remember(self, seen: Seen) -> Seen:
        """Return what is known of this limit: the mean of all measurements since the server last changed."""
        seen, has_changed = self._known.add(seen)
        if has_changed:
            self._patience = PATIENCE
        return seen

    def _was_in_vain(self, previous: Seen, seen: Seen, gain: float | None) -> bool:
        """Tell whether a limit that has grown made the calls slower, and them no more.

        Not of a single slot, unless it has failed before: what that brings is less than chance may take away.
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
            return self._to(seen.limit, previous.limit + math.sqrt(previous.limit), "slow start is over")
        if gradient >= SEVERE:
            return self._to(seen.limit, self._below_failed(seen.limit, 2 * seen.limit), "slow start")
        self._slow_start = False
        return self._to(seen.limit, _wanted(seen.limit, gradient), "latency")

    def _steer(self, previous: Seen | None, seen: Seen, gradient: float, gain: float | None) -> Change:
        wanted = _wanted(seen.limit, gradient)
        slack = max(1.0, math.sqrt(seen.limit) / 2)  # or noise would move a limit that is where it should be
        slack = min(slack, seen.limit / 2)  # or a single slot would never become two
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
            wanted = 2 * seen.limit  # far from any limit, it seems
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
        # Do the calls queue, or did the server become slower? The next measurement tells, if this one is sound: what
        # was seen while the server changed is a mixture.
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
            self._until_probe = PROBE_EVERY  # a probe would go no lower
        self._probing = None
        self._fail(limit)
        change = self._to(limit, min(math.floor(wanted), limit - 1), reason)
        self._last = 0  # growing again is no turn: what has failed is remembered
        return change

    def _fail(self, limit: int) -> None:
        if self._failed is not None and limit < self._failed:
            self._failed_above = (self._failed, self._failures)
        self._failed = limit
        self._failures += 1
        self._wait()

    def _pass(self, limit: int) -> None:
        """Take note that `limit` works, which is not below the one that had failed."""
        above, self._failed_above = self._failed_above, None
        self._failed, self._failures, self._grown = None, 0, 0
        if above is not None and above[0] > limit:
            self._failed, self._failures = above
            self._wait()

    def _wait(self) -> None:
        self._hold = self.stability_window << min(self._failures - 1, LONGEST_HOLD)

    def _to_probe(self, previous: Seen | None, seen: Seen, queueless: float) -> int:
        """Return the limit to probe now; the present one if it is not yet time."""
        self._until_probe -= 1
        if self._until_probe <= 0:
            return round(seen.limit * PROBE_SHARE)  # of 4 that is 3, and not half of it
        waited = self._until_probe <= PROBE_EVERY - self._patience
        if not (waited and queueless < QUEUED and is_steady(previous, seen)):
            return seen.limit
        return round(math.sqrt(seen.limit * self._known.most(seen.limit) * queueless * seen.latency_s))

    def _probe(self, seen: Seen, lower: int) -> Change:
        self._until_probe = PROBE_EVERY
        self._probing = seen
        return self._to(seen.limit, lower, "probe")

    def _after_probe(self, before: Seen, seen: Seen) -> Change:
        """Compare what is seen with what was, at a higher limit, before."""
        self._probing = None
        self._patience = min(2 * self._patience, PROBE_EVERY)
        if seen.limit >= before.limit:
            return Change(seen.limit, "")
        slower = seen.latency_s / before.latency_s
        if slower > 1 + noise(
            before, seen
        ):  # at fewer calls: the server has changed meanwhile, so look again
            self._last = -1
            return Change(seen.limit, "")
        if slower > math.sqrt(seen.limit / before.limit):  # a queue would make it fall as the limit does
            self._fastest = (
                seen  # it hardly fell, so nothing queued: as fast as this is the server, and no faster
            )
            self._last = 0
            return self._to(seen.limit, before.limit, "no queue")
        fastest = self._fastest
        self._until_probe = PROBE_EVERY
        if fastest is None or seen.latency_s < fastest.latency_s:
            self._fastest = seen
            if fastest is None or seen.latency_s < fastest.latency_s * (1 - noise(fastest, seen) / 2):
                self._until_probe = 1  # perhaps there is a queue still
        if throughput_of(seen) >= throughput_of(before):
            self._fail(before.limit)  # so that the way back up is one of small steps
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
