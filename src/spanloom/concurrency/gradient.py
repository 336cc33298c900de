"""The rule by which an adaptive limiter finds its limit: measurements in, limits out, and no clock or task.

Four published rules work together:

* **Gradient** (Netflix, concurrency-limits, ``GradientLimit``): with ``gradient = fastest / latency``, at most 1, the
  next limit is ``limit * gradient + sqrt(limit)``, and at least half the limit. (Netflix holds the gradient itself
  above 0.5: then a limit of 8 never falls, since half of it and its root are more than 6.) While nothing queues, the
  gradient is 1 and the limit grows by its root; it settles where what queues at the server is about that root.
* **Slow start** (TCP, RFC 5681, 3.1): until the first sign of congestion the limit doubles.
* **Multiplicative decrease** on errors, and the memory of where they came (CUBIC, RFC 9438, 4.6 and its W_max): below
  the limit that has failed, the next one is half-way between the present one and that; on its doorstep the rule waits,
  twice as long after each time that it failed again.
* **Probing for the fastest** (BBR's ProbeRTT, draft-cardwell-iccrg-bbr-congestion-control, 4.3.4.4): a limit that has
  always been too high has never seen an idle server. Once in a while the limit is lowered for one measurement. If that
  makes the calls no faster, then it is the server that became slower, and the latency seen is the new normal. Where
  calls queue, and after a slow start that went too far, the probe comes sooner: on a server that overload makes slow,
  the root that the gradient lets queue costs throughput. If less does as much, the limit before counts as failed, and
  is approached in small steps.

Latency is measured as limit / throughput (Little's law): the mean duration of the calls that have ended so far would
leave out those that take long. How exact it is, is measured as well, and a difference within twice the error is none.

Source of the terms: https://github.com/Netflix/concurrency-limits and the RFCs named.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import msgspec

__all__ = ["Change", "GradientRule", "Measurement"]

STEEPEST: Final = 0.5
"""What is left of a limit at least: one measurement never more than halves it."""
SEVERE: Final = 0.7
"""A gradient below which nobody waits for a second measurement."""
PROBE_SHARE: Final = 0.7
"""What is left of the limit while the rule probes."""
PROBE_EVERY: Final = 30
"""Measurements from probe to probe: the probes cost 1 % of the throughput."""
QUEUED: Final = 0.8
"""A gradient below which a limit at rest is probed sooner: what queues may be what makes the server slow."""
EARLY_PROBE_SHARE: Final = 0.8
"""What is left of the limit then: what queues, and hardly more, so that little is lost if it does no harm."""
PATIENCE: Final = 3
"""Measurements until then at first; twice as many after each probe that has brought nothing."""
LONGEST_HOLD: Final = 3
"""Doublings of the wait before a limit that has failed is tried again."""
SLOW_START_GAIN: Final = 0.3
"""What share of the limit's growth must be found in the throughput's, or the limit was too high before."""
EVIDENCE: Final = math.log(100)
"""How unlikely so many errors must be at the tolerated rate before they count as overload: one in a hundred."""
REMEMBERED: Final = 16
"""Limits of which it is remembered what they did."""
FINEST: Final = 0.02
"""A latency is never taken for more exact than this: servers have their moods."""


class Measurement(NamedTuple):
    """What was seen of calls under one limit."""

    limit: int
    throughput: float
    """Calls that ended well, per second."""
    deviation: float
    """Standard error of the throughput, as a share of it."""
    started: int
    """Calls that started. Those that ended would not do: failures come quickly, and would be seen alone at first."""
    errors: int
    """Those of them that have failed."""
    is_full: bool
    """Whether all slots were taken."""


class Change(NamedTuple):
    """A limit, and why; no reason if it is the one that it was."""

    limit: int
    reason: str


class _Seen(NamedTuple):
    """A measurement, and what follows from it alone."""

    limit: int
    latency_s: float
    deviation: float


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

    _fastest: _Seen | None = None
    _previous: _Seen | None = None
    _known: dict[int, _Seen] = {}
    """By limit, what was seen of it since the server last changed; those seen last at the end."""
    _slow_start: bool = True
    _grown: int = 0
    """Times in a row that the limit has grown."""
    _last: int = 0
    """Direction of the last change: 1 up, -1 down."""
    _agreeing: int = 0
    """Measurements in a row that would turn the direction."""
    _failed: int | None = None
    """Lowest limit that did not work."""
    _failures: int = 0
    _hold: int = 0
    """Measurements to wait before `_failed` is tried again."""
    _until_probe: int = PROBE_EVERY
    _patience: int = PATIENCE
    """Measurements from probe to probe while calls queue."""
    _probing: _Seen | None = None
    """What was seen before a probe, while one is on."""

    def is_overload(self, started: int, errors: int) -> bool:
        """Tell whether so many errors are too many, and no chance.

        By Chernoff's bound on the tail of a binomial distribution: the probability of at least `errors` is at most
        ``exp(-started * D)``, with D the relative entropy of the share seen and the tolerated one.
        """
        if not errors:
            return False
        share, allowed = errors / started, self.error_tolerance
        if allowed <= 0 or share <= allowed:
            return share > allowed
        entropy = share * math.log(share / allowed)
        if share < 1:
            entropy += (1 - share) * math.log((1 - share) / (1 - allowed))
        return started * entropy > EVIDENCE

    def next(self, measured: Measurement) -> Change:
        """Return the limit to have after `measured`."""
        limit = measured.limit
        if self.is_overload(measured.started, measured.errors):
            return self._back_off(limit, limit * self.error_backoff_factor, "errors")
        if not measured.is_full or not measured.throughput:
            self._previous = None  # nobody wanted more: what was seen is not the server's limit
            return Change(limit, "")
        seen = _Seen(limit, limit / measured.throughput, max(FINEST, measured.deviation))
        previous = self._previous
        self._previous = seen = self._remember(seen)
        if self._probing is not None:
            return self._after_probe(self._probing, seen)
        gain: float | None = None
        if previous is not None and previous.limit < limit and self._last > 0:
            gain = _throughput(seen) / _throughput(previous)
            if gain * (1 + _noise(previous, seen)) < self.decrease_threshold:
                return self._back_off(limit, max(previous.limit, limit * STEEPEST), "throughput fell")
        better = self._better(seen)
        if better is not None and self._probing is None:
            return self._back_off(limit, better.limit, "throughput fell")
        if previous is not None and self._was_in_vain(previous, seen, gain):
            return self._back_off(limit, (previous.limit + limit) // 2, "throughput fell")
        if self._failed is not None and limit >= self._failed:
            self._failed, self._failures, self._grown = None, 0, 0
        fastest = self._look_for_fastest(seen)
        gradient = fastest.latency_s * (1 + _noise(fastest, seen)) / seen.latency_s
        gradient = min(1.0, gradient)
        if self._slow_start:
            return self._start_slowly(previous, seen, gradient, gain)
        self._until_probe -= 1
        if self._until_probe <= 0:
            return self._probe(seen, PROBE_SHARE)
        waited = self._until_probe <= PROBE_EVERY - self._patience
        if waited and gradient < QUEUED and _is_steady(previous, seen):
            return self._probe(seen, EARLY_PROBE_SHARE)
        return self._steer(previous, seen, gradient, gain)

    def moved(self) -> None:
        """Take note that somebody else has changed the limit: what comes next is no answer to a step of this rule."""
        self._previous = self._probing = None
        self._agreeing = self._grown = self._last = 0

    # the parts ------------------------------------------------------------------------------------------

    def _remember(self, seen: _Seen) -> _Seen:
        """Return what is known of this limit: the mean of all measurements since the server last changed."""
        known = self._known.pop(seen.limit, None)
        if known is not None and _alike(known, seen):
            seen = _pooled(known, seen)
        elif known is not None:
            self._known.clear()
        self._known[seen.limit] = seen
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return seen

    def _better(self, seen: _Seen) -> _Seen | None:
        """Return a lower limit that is known to do more, if there is one.

        By one standard error only: if that was chance, both do much the same, and the lower one keeps no queue.
        """
        best = max(self._known.values(), key=_throughput)
        if best.limit < seen.limit and _throughput(best) > _throughput(seen) * (1 + _noise(best, seen) / 2):
            return best
        return None

    def _was_in_vain(self, previous: _Seen, seen: _Seen, gain: float | None) -> bool:
        """Tell whether a limit that has grown made the calls slower, and them no more.

        Not of a single slot, unless it has failed before: what that brings is less than chance may take away.
        """
        return (
            gain is not None
            and gain < 1
            and not self._slow_start
            and (seen.limit - previous.limit > 1 or seen.limit == self._failed)
            and seen.latency_s > previous.latency_s * (1 + _noise(previous, seen))
        )

    def _look_for_fastest(self, seen: _Seen) -> _Seen:
        fastest = self._fastest
        if fastest is None or seen.latency_s < fastest.latency_s * (1 - _noise(fastest, seen)):
            self._fastest = fastest = seen
        elif self._slow_start and seen.latency_s < fastest.latency_s * (1 + _noise(fastest, seen)):
            self._fastest = fastest = _pooled(fastest, seen)
        return fastest

    def _start_slowly(
        self, previous: _Seen | None, seen: _Seen, gradient: float, gain: float | None
    ) -> Change:
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

    def _steer(self, previous: _Seen | None, seen: _Seen, gradient: float, gain: float | None) -> Change:
        wanted = _wanted(seen.limit, gradient)
        slack = max(1.0, math.sqrt(seen.limit) / 2)  # or noise would move a limit that is where it should be
        if wanted <= seen.limit - slack:
            return self._shrink(previous, seen, wanted, severe=gradient < SEVERE)
        if wanted >= seen.limit + slack:
            return self._grow(seen, wanted, gain)
        self._agreeing = 0
        return Change(seen.limit, "")

    def _grow(self, seen: _Seen, wanted: float, gain: float | None) -> Change:
        if gain is not None and gain < self.increase_threshold * (1 - seen.deviation):
            return Change(seen.limit, "")
        if self._last < 0 and not self._agreed():
            return Change(seen.limit, "")
        if self._failed is not None and seen.limit >= self._failed - 1:
            if self._hold > 0:
                self._hold -= 1
                return Change(seen.limit, "")
            return self._to(seen.limit, self._failed, "try again")
        if self._grown >= self.stability_window and self._failed is None:
            wanted = 2 * seen.limit  # far from any limit, it seems
        return self._to(seen.limit, self._below_failed(seen.limit, wanted), "room")

    def _below_failed(self, limit: int, wanted: float) -> float:
        if self._failed is None:
            return wanted
        return min(wanted, limit + max(1, (self._failed - limit) // 2))

    def _shrink(self, previous: _Seen | None, seen: _Seen, wanted: float, *, severe: bool) -> Change:
        if not severe and self._last > 0 and not self._agreed():
            return Change(seen.limit, "")
        if severe and self._last > 0:
            self._fail(seen.limit)
        # Do the calls queue, or did the server become slower? The next measurement tells, if this one is sound: what
        # was seen while the server changed is a mixture.
        sound = self._last < 0 or _is_steady(previous, seen)
        self._probing = seen if sound else None
        return self._to(seen.limit, wanted, "latency")

    def _agreed(self) -> bool:
        self._agreeing += 1
        return self._agreeing >= self.stability_window

    def _back_off(self, limit: int, wanted: float, reason: str) -> Change:
        if self._slow_start:
            self._slow_start = False
            self._until_probe = 1  # perhaps what it falls back to is too high, too
        self._probing = None
        self._fail(limit)
        change = self._to(limit, min(math.floor(wanted), limit - 1), reason)
        self._last = 0  # growing again is no turn: what has failed is remembered
        return change

    def _fail(self, limit: int) -> None:
        self._failed = limit
        self._hold = self.stability_window << min(self._failures, LONGEST_HOLD)
        self._failures += 1

    def _probe(self, seen: _Seen, share: float) -> Change:
        self._until_probe = PROBE_EVERY
        self._probing = seen
        return self._to(seen.limit, math.floor(seen.limit * share), "probe")

    def _after_probe(self, before: _Seen, seen: _Seen) -> Change:
        """Compare what is seen with what was, at a higher limit, before."""
        self._probing = None
        self._patience = min(2 * self._patience, PROBE_EVERY)
        if seen.limit >= before.limit:
            return Change(seen.limit, "")
        slower = seen.latency_s / before.latency_s
        if slower > 1 + _noise(
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
        if fastest is None or seen.latency_s < fastest.latency_s:
            self._fastest = seen
        self._until_probe = 1 if fastest is None or seen.latency_s < fastest.latency_s else PROBE_EVERY
        if _throughput(seen) >= _throughput(before):
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


def _throughput(seen: _Seen) -> float:
    return seen.limit / seen.latency_s


def _noise(one: _Seen, other: _Seen) -> float:
    """Return twice the standard error of their ratio: a difference within it may be chance (1 in 20)."""
    return 2 * math.hypot(one.deviation, other.deviation)


def _alike(one: _Seen, other: _Seen) -> bool:
    return abs(one.latency_s / other.latency_s - 1) <= _noise(one, other)


def _is_steady(previous: _Seen | None, seen: _Seen) -> bool:
    return previous is not None and previous.limit == seen.limit and _alike(previous, seen)


def _pooled(one: _Seen, other: _Seen) -> _Seen:
    """Return the mean of two measurements of the same, weighted by their exactness."""
    w1, w2 = one.deviation**-2, other.deviation**-2
    latency_s = (one.latency_s * w1 + other.latency_s * w2) / (w1 + w2)
    return _Seen(other.limit, latency_s, max(FINEST, (w1 + w2) ** -0.5))
