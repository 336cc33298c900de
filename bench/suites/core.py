"""The runners: what spanloom's and others' take per job, as ratios to the bare pool."""

from bench import ours
from bench.contender import Contender
from bench.figure import Figure
from bench.load import JOBS, Load
from bench.peers.aiometer_map import AIOMETER
from bench.peers.anyio_group import ANYIO
from bench.peers.gathering import CHUNKS, GATHER, TASK_GROUP
from bench.peers.llamaindex import RUN_JOBS
from bench.peers.pool import POOL
from bench.peers.progress import TQDM_GATHER
from bench.peers.window import WINDOW
from bench.plan import BUDGET_CELL, Plan, describe, repeats
from bench.suites.timed import ratios

SUITE = "core"
PEERS = (WINDOW, CHUNKS, GATHER, TASK_GROUP, ANYIO, TQDM_GATHER, RUN_JOBS, AIOMETER)


def contenders() -> list[Contender]:
    """Return spanloom's runners, then the peers'."""
    if not ours.installed():
        return list(PEERS)
    from bench.ours import runners

    return [*runners.ALL, *PEERS]


def measure(plan: Plan) -> list[Figure]:
    """Time every runner on every cell and kind of job; the budget's cell once more with the collector on."""
    everyone = contenders()
    cells = [(cell, False) for cell in plan.cells]
    if plan.collector:
        cells.insert(1, (BUDGET_CELL, True))
    figures = []
    for cell, collector in cells:
        count, limit = cell
        for kind, job in JOBS.items():
            figures += ratios(
                SUITE,
                describe(cell, collector=collector),
                kind,
                POOL,
                everyone,
                Load(job, count, limit, repeat=repeats(count)),
                rounds=plan.rounds,
                judged=cell == BUDGET_CELL and not collector,
                collector=collector,
            )
    return figures
