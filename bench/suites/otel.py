"""OpenTelemetry: what a span costs, from the job to the counter, to bytes, and to a receiver over the wire."""

import json
import subprocess
import sys
from collections.abc import Sequence

from bench import ours
from bench.clock import Series, compare
from bench.figure import Figure, figure
from bench.load import Load, sleep0
from bench.peers.exporting import BY_HAND, Exporting, label
from bench.peers.gathering import GATHER
from bench.peers.llamaindex_spans import DISPATCHER
from bench.peers.logfire_spans import LOGFIRE
from bench.peers.pool import POOL
from bench.plan import BUDGET_CELL, Plan, describe
from bench.receiver import Receiver, receiving
from bench.subprocesses import ROOT

SUITE = "otel"
PEERS = (BY_HAND, LOGFIRE, DISPATCHER)
ASYNCIO = "opentelemetry-instrumentation-asyncio"
ASYNCIO_PYTHON = ROOT / "build" / "bench-asyncio" / "bin" / "python"
RATIO = "to the SDK by hand"


def exporters() -> list[Exporting]:
    """Return spanloom's ways, then the peers'."""
    if not ours.installed():
        return list(PEERS)
    from bench.ours import spans

    return [*spans.ALL, *PEERS]


def measure(plan: Plan) -> list[Figure]:
    """Time everyone at every stage, interleaved; the figures are what spans add to the same run without."""
    everyone = exporters()
    count, limit = BUDGET_CELL
    with receiving() as receiver:
        contenders = [one.contender(stage, receiver) for one in everyone for stage in one.stages]
        if ours.installed():
            from bench.ours.runners import RUN_JOBS

            contenders.insert(0, RUN_JOBS)
        series = compare(POOL, contenders, Load(sleep0, count, limit), rounds=plan.rounds)
        elsewhere = _instrumented_asyncio(receiver, plan.rounds)
    by_name = {one.contender: one for one in series}
    figures = [
        _added(one.name, stage, by_name[label(one.name, stage)], by_name[one.base])
        for one in everyone
        for stage in one.stages
    ]
    figures += [
        _added(ASYNCIO, one.contender.partition(": ")[2], one, elsewhere[1])
        for one in elsewhere
        if one.contender.startswith(ASYNCIO)
    ]
    return figures + _to_by_hand(everyone, by_name)


def _added(row: str, stage: str, series: Series, base: Series) -> Figure:
    count = BUDGET_CELL[0]
    added = [ratio - less for ratio, less in zip(series.ratios, base.ratios, strict=True)]
    spent_ns = sorted(mine - theirs for mine, theirs in zip(series.cpu_ns, base.cpu_ns, strict=True))
    return figure(
        SUITE,
        f"{describe(BUDGET_CELL)}: what spans add to the same run without, in bare pools, and CPU per span",
        row,
        stage,
        "+x",
        added,
        judged=True,
        ns_per_job=spent_ns[len(spent_ns) // 2] / count,
    )


def _to_by_hand(everyone: Sequence[Exporting], by_name: dict[str, Series]) -> list[Figure]:
    """Divide what everyone's spans add by what those by hand add in the same round."""
    figures = []
    for one in everyone:
        for stage in one.stages:
            theirs = _adds(by_name[label(BY_HAND.name, stage)], by_name[POOL.name])
            mine = _adds(by_name[label(one.name, stage)], by_name[one.base])
            values = [a / b for a, b in zip(mine, theirs, strict=True)]
            figures.append(
                figure(SUITE, f"the same, {RATIO}", one.name, f"{stage}, {RATIO}", "x", values, judged=True)
            )
    return figures


def _adds(series: Series, base: Series) -> list[float]:
    return [ratio - less for ratio, less in zip(series.ratios, base.ratios, strict=True)]


def ask_asyncio(mode: str, receiver: Receiver, number: int) -> str:
    """Have the peer that has an environment of its own say what it found; nothing where nobody has made that."""
    if not ASYNCIO_PYTHON.exists():
        target = f"{ASYNCIO_PYTHON.parents[1].relative_to(ROOT)}/.installed"
        print(f"{ASYNCIO} is left out: `make {target}` has not been run", file=sys.stderr)
        return ""
    command = [str(ASYNCIO_PYTHON), "-m", "bench.peers.asyncio_instrumented", mode, receiver.url, str(number)]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def _instrumented_asyncio(receiver: Receiver, rounds: int) -> list[Series]:
    said = ask_asyncio("time", receiver, rounds)
    series = [Series(**one) for one in json.loads(said or "[]")]
    assert [one.contender for one in series[:2]] in ([], [POOL.name, GATHER.name])
    return series
