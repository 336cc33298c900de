"""The clock: CPU time of contenders, interleaved with that of the one they are compared with.

A busy machine changes speed from one second to the next, so a ratio is only worth something between
neighbours. Each round runs the reference, a contender, the reference, the next contender, and so on; a
contender's time is divided by the mean of the two references on either side of it. What is reported is the
median and the quartiles of the rounds' ratios.
"""

import asyncio
import contextvars
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.contender import Contender, Session
from bench.load import WARM_UP_JOBS, Load


@dataclass(frozen=True, slots=True)
class Series:
    """The timed runs of one contender, one entry a round."""

    contender: str
    cpu_ns: list[int] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


async def _timed(session: Session, load: Load) -> tuple[int, object]:
    # process time, not thread time: what a contender hands to a thread of its own is part of its price
    results: object = None
    started_ns = time.process_time_ns()
    for _ in range(load.repeat):
        results = await session.run(load)
    session.settle()
    return time.process_time_ns() - started_ns, results


def run_once(runner: asyncio.Runner, contender: Contender, load: Load) -> int:
    """Run a contender once and check its results.

    Returns:
        CPU time of the whole process in nanoseconds, at least 1.
    """
    gc.collect()
    with contender.open() as session:
        # a Runner keeps the context it first saw: the one that set-up has just changed must be handed over
        spent_ns, results = runner.run(_timed(session, load), context=contextvars.copy_context())
    load.check(results, contender.name)
    return max(spent_ns, 1)


def compare(
    reference: Contender,
    contenders: Sequence[Contender],
    load: Load,
    *,
    rounds: int,
    collector: bool = False,
) -> list[Series]:
    """Time contenders against a reference, interleaved.

    Args:
        reference: What every ratio is a ratio to.
        contenders: Whom to time. Those whose `max_jobs` the load exceeds are left out.
        load: What each of them runs.
        rounds: How often each of them runs; one more round warms up and is not counted.
        collector: Leave the cyclic garbage collector on, with the heap of every import in its sight. By
            default that heap is frozen and the collector is off while the clock runs, and works in between.

    Returns:
        One series per contender, in the given order, the reference's own first.
    """
    chosen = [one for one in contenders if one.max_jobs is None or load.count <= one.max_jobs]
    base = Series(reference.name)
    series = [Series(one.name) for one in chosen]
    warm_up = Load(load.job, min(load.count, WARM_UP_JOBS), load.limit, as_list=load.as_list)
    if load.expected is not None:
        warm_up = load
    with asyncio.Runner() as runner:
        for one in (reference, *chosen):
            run_once(runner, one, warm_up)
        gc.collect()
        if not collector:
            gc.freeze()
            gc.disable()
        try:
            for _ in range(rounds):
                _round(runner, reference, chosen, load, base, series)
        finally:
            gc.enable()
            gc.unfreeze()
    return [base, *series]


def _round(
    runner: asyncio.Runner,
    reference: Contender,
    contenders: Sequence[Contender],
    load: Load,
    base: Series,
    series: Sequence[Series],
) -> None:
    before_ns = run_once(runner, reference, load)
    base.cpu_ns.append(before_ns)
    base.ratios.append(1.0)
    for contender, into in zip(contenders, series, strict=True):
        spent_ns = run_once(runner, contender, load)
        after_ns = run_once(runner, reference, load)
        into.cpu_ns.append(spent_ns)
        into.ratios.append(2 * spent_ns / (before_ns + after_ns))
        before_ns = after_ns
