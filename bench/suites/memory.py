"""Memory: bytes a job, as the slope between two runs of different size, each in a fresh interpreter."""

from bench import ours
from bench.figure import Figure, figure
from bench.plan import Plan
from bench.subprocesses import python

SUITE = "memory"
LISTS = {
    "P, a bare pool": "bench.peers.pool:POOL",
    "asyncio.gather + Semaphore": "bench.peers.gathering:GATHER",
    "llama-index run_jobs": "bench.peers.llamaindex:RUN_JOBS",
}
OUR_LISTS = {
    "spanloom run_jobs": "bench.ours.runners:RUN_JOBS",
    "spanloom run_jobs, context": "bench.ours.runners:CONTEXT",
}
OUR_STREAMS = {"spanloom stream": "bench.ours.runners:STREAM_DRAINED"}
STREAMS = {"P, results dropped": "bench.peers.pool:POOL_DRAINED"}
LIMIT = "64"


def _slope(mode: str, contender: str, counts: tuple[int, int], *flags: str) -> float:
    fewer, more = counts
    peaks = [
        int(python(["-m", "bench.probe", mode, contender, "sleep0", str(count), LIMIT, *flags]).stdout)
        for count in (fewer, more)
    ]
    return (peaks[1] - peaks[0]) / (more - fewer)


def measure(plan: Plan) -> list[Figure]:
    """Take the slope of the peak, both as the allocator and as the kernel sees it."""
    lists, streams = dict(LISTS), dict(STREAMS)
    if ours.installed():
        lists, streams = {**OUR_LISTS, **lists}, {**OUR_STREAMS, **streams}
    figures = []
    for mode in ("traced", "resident"):
        for row, contender in lists.items():
            slope = _slope(mode, contender, plan.memory_counts, "list")
            group = "a list of coroutines, results as a list"
            figures.append(figure(SUITE, group, row, f"list, {mode}", "B", [slope], judged=True))
        # tracing makes a million jobs take minutes and tells no more about them than a tenth does
        fewer, more = plan.stream_counts
        counts = (fewer, more) if mode == "resident" else (fewer // 10, more // 10)
        for row, contender in streams.items():
            slope = _slope(mode, contender, counts)
            group = "an iterator of jobs, no result kept"
            figures.append(figure(SUITE, group, row, f"iterator, {mode}", "B", [slope], judged=True))
    return figures
