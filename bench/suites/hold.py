"""The hold: the longest single turn of the event loop while a large batch runs."""

from bench import ours
from bench.figure import Figure, figure
from bench.plan import Plan
from bench.subprocesses import python

SUITE = "hold"
PEERS = {
    "P, a bare pool": "bench.peers.pool:POOL",
    "asyncio.gather + Semaphore": "bench.peers.gathering:GATHER",
    "llama-index run_jobs": "bench.peers.llamaindex:RUN_JOBS",
}
OURS = {
    "spanloom run_jobs": "bench.ours.runners:RUN_JOBS",
    "spanloom run_jobs, context": "bench.ours.runners:CONTEXT",
    "spanloom async_map, checkpoint": "bench.ours.runners:CHECKPOINTED",
}
RUNS = 3


def measure(plan: Plan) -> list[Figure]:
    """Watch the loop in fresh interpreters: its thread's CPU time between two turns, the longest of each run."""
    rows = {**(OURS if ours.installed() else {}), **PEERS}
    figures = []
    for row, contender in rows.items():
        for job in ("ready", "sleep0"):
            arguments = ["-m", "bench.probe", "hold", contender, job, str(plan.hold_count), "64"]
            turns_ms = [float(python(arguments).stdout) for _ in range(RUNS)]
            group = f"n = {plan.hold_count:,}, limit 64, longest of all turns"
            figures.append(figure(SUITE, group, row, job, "ms", turns_ms, judged=True))
    return figures
