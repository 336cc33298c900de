"""GradientRule and what it knows: the answers to measurements that a test makes up."""

from __future__ import annotations

import pytest

from spanloom.concurrency.evidence import Measurement, Seen
from spanloom.concurrency.gradient import Change, GradientRule
from spanloom.concurrency.known import KnownLimits


def after(rule: GradientRule, limit: int, throughput: float | None = None, deviation: float = 0.02) -> Change:
    """Return the answer to a measurement; without a throughput, to calls that fail."""
    if throughput is None:
        return rule.next(Measurement(limit, 0, 0, 20, 20, is_full=True))
    return rule.next(Measurement(limit, throughput, deviation, 100, 0, is_full=True))


def test_it_goes_back_at_once_to_what_has_worked_and_remembers_what_failed_above() -> None:
    """Down from 9, it does not try 7 before the 8 that it knows; past 9, it is careful below 11."""
    rule = GradientRule(1, 100)
    assert after(rule, 4, 8) == (8, "slow start")
    assert after(rule, 8, 16) == (16, "slow start")
    assert after(rule, 16) == (11, "errors")
    assert after(rule, 11) == (7, "errors")
    assert after(rule, 7, 14) == (9, "room")
    assert after(rule, 9) == (6, "errors")
    assert after(rule, 6, 12) == (8, "room")
    while (change := after(rule, 8, 16)).limit == 8:
        pass
    assert change == (9, "try again")
    assert after(rule, 9, 18) == (10, "room")


def test_it_probes_no_lower_than_it_needs_to() -> None:
    """Of 4 slots, 3 tell whether calls queue; 2 would cost half of the throughput."""
    rule = GradientRule(1, 100, error_backoff_factor=0.5)
    assert after(rule, 4, 8) == (8, "slow start")
    assert after(rule, 8) == (4, "errors")
    assert after(rule, 4, 8) == (3, "probe")
    assert after(rule, 3, 6) == (4, "no queue")


def test_it_probes_again_only_after_calls_that_were_clearly_faster() -> None:
    """What a probe finds is as fast as the fastest ever seen: nothing queues any more."""
    rule = GradientRule(1, 100)
    assert after(rule, 4, 8, 0.05) == (8, "slow start")
    assert after(rule, 8, 8, 0.05) == (6, "slow start is over")
    assert after(rule, 6, 8, 0.05) == (4, "probe")
    assert after(rule, 4, 8.1, 0.05) == (4, "")
    assert after(rule, 4, 8, 0.05) == (4, "")


def test_a_limit_that_errors_have_lowered_needs_no_probe() -> None:
    """It has been as low as a probe would be."""
    rule, limit, reasons = GradientRule(1, 100), 8, []
    for _ in range(120):
        change = after(rule, limit, 2.0 * limit if limit <= 16 else None)
        limit = change.limit
        reasons.append(change.reason)
    assert "probe" not in reasons
    assert reasons.count("errors") >= 4


@pytest.mark.parametrize(
    ("latencies", "changed"),
    [
        ([0.5, 0.6], [False, False]),
        ([0.5, 0.6, 0.52], [False, False, False]),
        ([0.5, 0.6, 0.64], [False, False, True]),
        ([0.5, 0.6, 0.52, 0.64], [False, False, False, False]),
        ([0.5, 0.66], [False, True]),
    ],
)
def test_one_measurement_that_is_a_little_off_proves_no_new_server(
    latencies: list[float], changed: list[bool]
) -> None:
    """Two in a row do, and one that chance does not explain."""
    known = KnownLimits()
    assert [known.add(Seen(8, latency_s, 0.05))[1] for latency_s in latencies] == changed


def test_a_limit_that_failed_by_chance_is_not_waited_for() -> None:
    """As soon as it is known to do more than the one below it."""
    rule = GradientRule(1, 100)
    assert after(rule, 4, 8) == (8, "slow start")
    assert after(rule, 8) == (5, "errors")
    assert after(rule, 5, 10) == (4, "probe")
    assert after(rule, 4, 8) == (5, "no queue")
    assert after(rule, 5, 10) == (6, "room")
    assert after(rule, 6, 12, 0.05) == (7, "room")
    assert after(rule, 7, 11, 0.05) == (6, "throughput fell")
    assert after(rule, 6, 9.7, 0.05) == (7, "try again")


def test_what_is_known_of_a_limit_that_refuses_is_of_no_use() -> None:
    """It has done more once: that is no reason to try it again at once."""
    rule = GradientRule(1, 100)
    rule.next(Measurement(4, 8, 0.02, 100, 0, is_full=True))
    assert after(rule, 8) == (5, "errors")
    assert after(rule, 5, 10) == (4, "probe")
    assert after(rule, 4, 8) == (5, "no queue")
    assert after(rule, 5, 10) == (6, "room")
    assert after(rule, 6, 12) == (7, "room")
    assert after(rule, 7, 14) == (7, "")
    assert after(rule, 7) == (4, "errors")
    assert after(rule, 4, 8) == (6, "room")
    assert after(rule, 6, 12) == (6, "")


def test_the_most_that_a_server_does_is_not_what_a_higher_limit_once_did() -> None:
    """Before it changed, perhaps."""
    known = KnownLimits()
    known.add(Seen(5, 0.5, 0.05))
    known.add(Seen(2, 0.5, 0.05))
    known.add(Seen(3, 1.5, 0.05))
    assert known.most(3) == 4
    assert known.most(5) == 10


def test_all_is_forgotten_of_another_server() -> None:
    """Of other limits, too."""
    known = KnownLimits()
    known.add(Seen(16, 0.5, 0.05))
    known.add(Seen(8, 0.5, 0.05))
    assert known.expected(16) == 32
    known.add(Seen(8, 2.0, 0.05))
    assert known.expected(16) == 4


def test_errors_of_calls_that_queued_leave_less_than_the_server_holds() -> None:
    """Of 12 slots at a server of 8, the factor alone leaves 8; where nothing has queued, it decides alone."""
    rule = GradientRule(1, 100)
    assert after(rule, 4, 8) == (8, "slow start")
    assert after(rule, 8, 16) == (16, "slow start")
    assert after(rule, 16, 16).limit < 16
    after(rule, 12, 16)
    assert after(rule, 12) == (6, "errors")
    fresh = GradientRule(1, 100)
    assert after(fresh, 4, 8) == (8, "slow start")
    assert after(fresh, 8, 16) == (16, "slow start")
    assert after(fresh, 16) == (11, "errors")


def test_what_ends_a_slow_start_is_approached_in_steps() -> None:
    """It was no use: the limit does not double past it, however often it has grown."""
    rule = GradientRule(1, 1000)
    assert after(rule, 200, 200) == (400, "slow start")
    assert after(rule, 400, 220) == (214, "slow start is over")
    limit, seen = 214, []
    for _ in range(8):
        limit = after(rule, limit, float(limit)).limit
        seen.append(limit)
    assert max(seen) <= 400
    assert max(seen) > 300


def test_a_step_that_makes_a_server_collapse_is_taken_back() -> None:
    """It is remembered what the limit before did: a second collapse is that of the server."""
    rule = GradientRule(1, 100)
    assert after(rule, 10, 20) == (20, "slow start")
    assert after(rule, 20, 40) == (40, "slow start")
    collapsed = Measurement(40, 2, 0.1, 60, 0, is_full=True)
    assert rule.collapsed(collapsed) == (20, "throughput fell")
    assert rule.expected(20) == 40
    assert rule.collapsed(Measurement(20, 2, 0.1, 60, 0, is_full=True)).limit < 10
    assert rule.expected(20) == 0


def test_a_higher_limit_that_once_did_more_hides_no_lower_one() -> None:
    """What 7 did before the server changed keeps nobody at 5, where 4 is known to do more."""
    known = KnownLimits()
    for limit, throughput in ((7, 10), (4, 8), (5, 5.5)):
        known.add(Seen(limit, limit / throughput, 0.05))
    better = known.better(Seen(5, 5 / 5.5, 0.05))
    assert better is not None
    assert better.limit == 4
