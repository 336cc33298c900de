"""Retry: what it adds to a call that succeeds at once, as ratios to a loop written by hand."""

from bench import ours
from bench.contender import Contender
from bench.figure import Figure
from bench.load import Load, ready, sleep0
from bench.peers.retrying import BY_HAND, STAMINA, TENACITY
from bench.plan import Plan
from bench.suites.timed import ratios

SUITE = "retry"
CALLS = 5_000


def measure(plan: Plan) -> list[Figure]:
    """Time a call that does not suspend, which the ceilings are for, and one that suspends once."""
    contenders: list[Contender] = [TENACITY, STAMINA]
    if ours.installed():
        from bench.ours import calls

        contenders = [calls.RETRY_UNHEARD, calls.RETRY, *contenders]
    figures = []
    for column, job, judged in (
        ("first try succeeds", ready, True),
        ("... and suspends once", sleep0, False),
    ):
        figures += ratios(
            SUITE,
            "one call after another, to a loop by hand",
            column,
            BY_HAND,
            contenders,
            Load(job, CALLS, 1, expected=(0,) * CALLS),
            rounds=plan.rounds,
            judged=judged,
        )
    return figures
