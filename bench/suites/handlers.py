"""The handlers: what listening adds to a runner, in units of the bare pool."""

from bench import ours
from bench.contender import Contender
from bench.figure import Figure
from bench.load import JOBS, Load
from bench.peers.llamaindex import DEBUG_HANDLER
from bench.peers.pool import POOL
from bench.peers.progress import TQDM_UPDATE
from bench.peers.spans import SPANS, SPANS_ENCODED
from bench.plan import BUDGET_CELL, Plan, describe, repeats
from bench.receiver import Receiver, receiving
from bench.suites.timed import ratios

SUITE = "handlers"
PEERS = (TQDM_UPDATE, DEBUG_HANDLER, SPANS, SPANS_ENCODED)
ROUNDS_FACTOR = 2  # a difference of two ratios spreads more than either of them


def _pairs(receiver: Receiver) -> list[tuple[Contender, Contender]]:
    peers = [(peer, POOL) for peer in PEERS]
    if not ours.installed():
        return peers
    from bench.ours import handlers

    return [*handlers.with_bases(receiver), *peers]


def measure(plan: Plan) -> list[Figure]:
    """Time each handler beside the same runner without it; the figure is the difference, round by round."""
    with receiving() as receiver:
        return _measured(plan, _pairs(receiver))


def _measured(plan: Plan, pairs: list[tuple[Contender, Contender]]) -> list[Figure]:
    bases = list(dict.fromkeys(base for _, base in pairs if base is not POOL))
    figures = []
    count, limit = BUDGET_CELL
    for kind in ("sleep0", "future"):
        figures += ratios(
            SUITE,
            describe(BUDGET_CELL),
            kind,
            POOL,
            [*bases, *(one for one, _ in pairs)],
            Load(JOBS[kind], count, limit, repeat=repeats(count)),
            rounds=ROUNDS_FACTOR * plan.rounds,
            judged=True,
            bases={one.name: base.name for one, base in pairs},
        )
    return figures
