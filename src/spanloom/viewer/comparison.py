"""Two runs compared: what got slower, what fails more, and which share of the difference each name explains.

What is compared is *time spent*: the self times of all events, that is, the time in which each had nothing open inside
it, summed up over everything that ran at once. It has what a sum of durations and the length of the run have not:

* every moment of every job is in it once, under the innermost name: differences of names add up to that of the whole;
* a name that did not change contributes nothing, whatever runs beside it. The length of a run has no such sums: of two
  things side by side only the longer one counts, until the other one overtakes it.

Waits for a slot are left out of it: whoever waits is late because another one was slow, and that one has its share
already. (Tallent and Mellor-Crummey call this blame shifting: *Effective Performance Measurement and Analysis of
Multithreaded Applications*, PPoPP 2009.) The time outside of any event is what no name explains.

How long a run lasted follows from the time spent W and from how much of it happened at once on average, P: while
anything was open, it lasted ``C = W / P``. So the difference of C is told as two parts that add up to it, by the
midpoint rule of Kitagawa (*Components of a Difference Between Two Rates*, JASA 1955)::

    C2 - C1  =  (W2 - W1) * (1/P1 + 1/P2) / 2   more time spent
             +  (1/P2 - 1/P1) * (W1 + W2) / 2   less at once

and, by the same rule, the difference of one name, which spent ``W = n * m`` in n events of m each::

    W2 - W1  =  (n2 - n1) * (m1 + m2) / 2       more events
             +  (m2 - m1) * (n1 + n2) / 2       slower events

Noise: of these two parts, each is shared out if it differs by more than chance, or if one cannot tell because there are
too few events. What chance explains would otherwise be shared out as well, and the name that did change get 116 % of a
difference that luck has made smaller. A number of events is not up to chance, but for those that are there because an
attempt had failed: 135 jobs are more than 100, while 12 retries may well be the luck of 9. A name is called slower or
faster if it also differs by more than `MIN_EFFECT`: with enough events everything differs by more than chance, the
weather included.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from spanloom.events.types import EventType
from spanloom.viewer._errors import ErrorGroup
from spanloom.viewer._names import NameStats
from spanloom.viewer._path import Step
from spanloom.viewer._shape import agree
from spanloom.viewer._significance import Sample, level_for, mean_differs, number_differs, share_differs
from spanloom.viewer.analysis import Analysis

__all__ = ["MIN_EFFECT", "Change", "Comparison", "ErrorChange", "NameChange", "compare"]

MIN_EFFECT: Final = 0.03
"""Differences below this share are not told as such: two runs of one program on one machine differ by as much."""
_MIN_OUTSIDE_NS: Final = 200_000_000
"""The same for the time outside of events, in which an interpreter starts and modules are imported."""
_STRAGGLES: Final = 3
"""How many times as long as those of its name in A an event must have taken to be told of by itself."""
_SIGMAS: Final = 3
"""Standard errors by which the whole must differ: chance does that once in 370 comparisons."""


class Change(msgspec.Struct, frozen=True):
    """How one type and name differ.

    Attributes:
        type, name: Whose.
        count, failed, self_ns: How many there were, without skipped ones, how many of them failed, and the time
            spent; in A and in B.
        more_ns: How much of the difference of the time spent is due to their number.
        slower_ns: How much is due to the time that each took.
        real_ns: Which of these two differ beyond noise, added up: what its share is a share of.
        noise_ns: Standard error of the difference: of the time that each took and, where their numbers differ, of
            how many were retried; ``None`` where a single event says nothing about noise.
        speed: ``slower``, ``faster``, ``same`` (within noise), or ``unknown`` (too few events to tell).
        failing: ``more``, ``less`` or ``same`` (within noise).
        is_noise: Whether neither the time that each took nor their number differs beyond chance: then it has no share.
        is_wait: Whether it is a wait for a slot, which is left out of the time spent.
    """

    type: str
    name: str
    count: tuple[int, int]
    failed: tuple[int, int]
    self_ns: tuple[int, int]
    more_ns: float
    slower_ns: float
    real_ns: float
    noise_ns: float | None
    speed: str
    failing: str
    is_noise: bool
    is_wait: bool

    @property
    def delta_ns(self) -> int:
        """By how much more time was spent in B."""
        return self.self_ns[1] - self.self_ns[0]

    @property
    def mean_ns(self) -> tuple[float | None, float | None]:
        """Time spent in each event, in A and in B; ``None`` where there is none."""
        a, b = (ns / count if count else None for ns, count in zip(self.self_ns, self.count, strict=True))
        return a, b


class NameChange(msgspec.Struct, frozen=True):
    """How one name differs, in all its types: a job, its attempts and its back-offs have one name.

    Attributes:
        name: Which.
        delta_ns: By how much more time was spent in B.
        noise_ns: Standard error of that, as far as it is known.
        share: Of all differences beyond noise; all shares add up to 1. ``None`` where there is none.
        parts: By type, the greatest real difference first.
    """

    name: str
    delta_ns: int
    noise_ns: float
    share: float | None
    parts: list[Change]


class ErrorChange(msgspec.Struct, frozen=True):
    """Errors of one type and shape, and how often they were raised in A and in B."""

    type: str
    shape: str
    count: tuple[int, int]


class Comparison(msgspec.Struct, frozen=True):
    """What is different in B.

    Attributes:
        a, b: The runs.
        duration_ns: How long they lasted.
        spent_ns: The time spent in all events but waits for a slot.
        outside_ns: For how long nothing was open.
        at_once: Mean of what went on at once, while anything did; ``None`` if nothing ever did.
        work_ns: How much longer B was because more time was spent.
        overlap_ns: How much longer because less of it happened at once.
        noise_ns: Standard error of the difference of `spent_ns`.
        shared_ns: What the shares are shares of: the differences beyond noise, of names and of the time outside.
        differs: Which of ``work``, ``overlap`` and ``outside`` differ beyond noise.
        names: All names, those with the greatest shares first.
        outside_share: The share that no name explains, ``None`` where there is nothing to share.
        straggler: The event of B that by itself is why less went on at once; ``None`` if there is none.
        waits: Waits for a slot, by limiter.
        errors: Errors that were raised more or less often beyond noise, or in one of the runs only.
    """

    a: Analysis
    b: Analysis
    duration_ns: tuple[int, int]
    spent_ns: tuple[int, int]
    outside_ns: tuple[int, int]
    at_once: tuple[float | None, float | None]
    work_ns: float
    overlap_ns: float
    noise_ns: float
    shared_ns: int
    differs: list[str]
    names: list[NameChange]
    outside_share: float | None
    straggler: Step | None
    waits: list[Change]
    errors: list[ErrorChange]

    @property
    def is_worse(self) -> bool:
        """Whether, beyond noise, B took longer or something in it fails more."""
        longer = bool(self.differs) and self.duration_ns[1] > self.duration_ns[0]
        return longer or any(change.failing == "more" for change in self.changes)

    @property
    def changes(self) -> list[Change]:
        """The parts of all names."""
        return [part for name in self.names for part in name.parts]


def compare(a: Analysis, b: Analysis) -> Comparison:
    """Tell what is different in run `b`, and why it took longer or shorter than `a`."""
    pairs = _pairs(a, b)
    level = level_for(len(pairs))
    changes = [_change(key, *pair, level) for key, pair in pairs.items()]
    work = [change for change in changes if not change.is_wait]
    spent_a, spent_b = (sum(change.self_ns[side] for change in work) for side in (0, 1))
    outside_a, outside_b = _outside_ns(a), _outside_ns(b)
    at_once = (_ratio(spent_a, a.covered_ns), _ratio(spent_b, b.covered_ns))
    inverse_a, inverse_b = _ratio(a.covered_ns, spent_a), _ratio(b.covered_ns, spent_b)
    inverse_a, inverse_b = _either(inverse_a, inverse_b)
    work_ns = (spent_b - spent_a) * (inverse_a + inverse_b) / 2
    overlap_ns = b.covered_ns - a.covered_ns - work_ns
    differs = _differs(a, b, work, overlap_ns)
    outside_ns = outside_b - outside_a if "outside" in differs else 0
    shared_ns = round(sum(change.real_ns for change in work)) + outside_ns
    of = shared_ns if {"work", "outside"} & set(differs) else 0
    return Comparison(
        a=a,
        b=b,
        duration_ns=(a.duration_ns, b.duration_ns),
        spent_ns=(spent_a, spent_b),
        outside_ns=(outside_a, outside_b),
        at_once=at_once,
        work_ns=work_ns,
        overlap_ns=overlap_ns,
        noise_ns=_root_of_squares(change.noise_ns for change in work),
        shared_ns=shared_ns,
        differs=differs,
        names=_by_name(work, of),
        outside_share=outside_ns / of if of else None,
        straggler=_straggler(b, work, overlap_ns) if "overlap" in differs else None,
        waits=[change for change in changes if change.is_wait],
        errors=_errors(a, b, level),
    )


def _pairs(a: Analysis, b: Analysis) -> dict[tuple[str, str], tuple[NameStats | None, NameStats | None]]:
    of_a, of_b = ({(stats.type, stats.name): stats for stats in run.names} for run in (a, b))
    return {key: (of_a.get(key), of_b.get(key)) for key in (*of_a, *(key for key in of_b if key not in of_a))}


def _change(key: tuple[str, str], a: NameStats | None, b: NameStats | None, level: float) -> Change:
    sides = (a, b)
    count_a, count_b = (0 if stats is None else stats.ran for stats in sides)
    failed_a, failed_b = (0 if stats is None else stats.failed for stats in sides)
    spent_a, spent_b = (0 if stats is None else stats.self_ns for stats in sides)
    mean_a, mean_b = _either(_ratio(spent_a, count_a), _ratio(spent_b, count_b))
    again = sum(stats.again for stats in sides if stats is not None)
    noise_ns = None
    if all(stats is None or stats.self_variance is not None for stats in sides):
        variance = sum(stats.ran * (stats.self_variance or 0.0) for stats in sides if stats is not None)
        if count_a != count_b:
            variance += again * ((mean_a + mean_b) / 2) ** 2
        noise_ns = math.sqrt(variance)
    differs = None if a is None or b is None else mean_differs(_sample(a), _sample(b), level)
    speed = "same"
    if differs is None:
        speed = "unknown"
    elif differs and abs(mean_b - mean_a) > MIN_EFFECT * max(mean_a, mean_b):
        speed = "slower" if mean_b > mean_a else "faster"
    more_ns = (count_b - count_a) * (mean_a + mean_b) / 2
    slower_ns = (mean_b - mean_a) * (count_a + count_b) / 2
    is_more = number_differs(count_a, count_b, again, level)
    return Change(
        type=key[0],
        name=key[1],
        count=(count_a, count_b),
        failed=(failed_a, failed_b),
        self_ns=(spent_a, spent_b),
        more_ns=more_ns,
        slower_ns=slower_ns,
        real_ns=more_ns * is_more + slower_ns * (differs is not False),
        noise_ns=noise_ns,
        speed=speed,
        is_noise=differs is False and not is_more,
        failing=share_differs(failed_a, count_a, failed_b, count_b, level),
        is_wait=key[0] == EventType.SLOT_WAIT,
    )


def _sample(stats: NameStats) -> Sample:
    return Sample(stats.ran, stats.self_ns, stats.self_variance)


def _differs(a: Analysis, b: Analysis, work: list[Change], overlap_ns: float) -> list[str]:
    found = []
    certain = [change for change in work if not change.is_noise]
    change_ns = abs(sum(change.real_ns for change in certain))
    noise_ns = _root_of_squares(change.noise_ns for change in certain)
    spent_ns = max(sum(change.self_ns[side] for change in work) for side in (0, 1))
    if change_ns > MIN_EFFECT * spent_ns and change_ns > _SIGMAS * noise_ns:
        found.append("work")
    longest_ns = max(a.duration_ns, b.duration_ns)
    if abs(overlap_ns) > 2 * MIN_EFFECT * longest_ns:  # how jobs happen to line up is a matter of luck
        found.append("overlap")
    outside_a, outside_b = _outside_ns(a), _outside_ns(b)
    if abs(outside_b - outside_a) > max(MIN_EFFECT * longest_ns, _MIN_OUTSIDE_NS):
        found.append("outside")
    return found


def _straggler(b: Analysis, changes: list[Change], overlap_ns: float) -> Step | None:
    """Return the event of the critical path whose own time is most of the overlap that is gone, if it is unusual."""
    if overlap_ns <= 0 or not b.path.longest:
        return None
    longest = b.path.longest[0]
    key = longest.record.type, longest.record.name
    usual_ns = next((change.mean_ns[0] for change in changes if (change.type, change.name) == key), None)
    is_late = usual_ns is not None and longest.self_ns > _STRAGGLES * usual_ns
    return longest if is_late and longest.self_ns * 2 > overlap_ns else None


def _outside_ns(run: Analysis) -> int:
    return run.duration_ns - run.covered_ns


def _by_name(changes: list[Change], shared_ns: int) -> list[NameChange]:
    names: dict[str, list[Change]] = {}
    for change in changes:
        names.setdefault(change.name, []).append(change)
    found = []
    for name, parts in names.items():
        delta_ns = sum(part.delta_ns for part in parts)
        found.append(
            NameChange(
                name=name,
                delta_ns=delta_ns,
                noise_ns=_root_of_squares(part.noise_ns for part in parts),
                share=sum(part.real_ns for part in parts) / shared_ns if shared_ns else None,
                parts=sorted(parts, key=lambda part: (-abs(part.real_ns), -abs(part.delta_ns))),
            )
        )
    return sorted(found, key=lambda change: (-abs(change.share or 0.0), -abs(change.delta_ns)))


def _errors(a: Analysis, b: Analysis, level: float) -> list[ErrorChange]:
    counts: list[tuple[ErrorGroup, list[int]]] = [(group, [group.count, 0]) for group in a.errors]
    for group in b.errors:
        for other, count in counts:
            if other.type == group.type and agree(other.shape, group.shape):
                count[1] += group.count
                break
        else:
            counts.append((group, [0, group.count]))
    found = [
        ErrorChange(group.type, group.shape, (of_a, of_b))
        for group, (of_a, of_b) in counts
        if not of_a
        or not of_b
        or share_differs(of_a, max(a.events, 1), of_b, max(b.events, 1), level) != "same"
    ]
    return sorted(found, key=lambda change: -abs(change.count[1] - change.count[0]))


def _ratio(value: float, by: float) -> float | None:
    return value / by if by else None


def _either(a: float | None, b: float | None) -> tuple[float, float]:
    """Return both; what is in one of the runs only is taken to be the same in the other."""
    known = a if a is not None else b if b is not None else 0.0
    return known if a is None else a, known if b is None else b


def _root_of_squares(values: Iterable[float | None]) -> float:
    return math.sqrt(sum(value * value for value in values if value is not None))
