"""THREAD_POOL_EXHAUSTED: all threads of a pool wait for calls that are queued in the same pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.watch.frames import location, where
from spanloom.diagnosis.watch.needs import Need, Needs
from spanloom.diagnosis.watch.threads import PoolNow, ThreadNow, Threads, item_name

__all__ = ["exhausted"]


def exhausted(seen: Threads) -> Iterator[Finding]:
    """Yield the findings on pools none of whose threads can go on before another thread of these pools has."""
    for pool in seen.pools.values():
        if not pool.queued or not pool.threads or len(pool.threads) < pool.size:
            continue
        threads = [seen.threads[ident] for ident in pool.threads]
        needs: list[Need] = []
        for thread in threads:
            need = None if thread.item is None else Needs(seen).of_thread(thread)
            if need is None or (pool.key not in need.pools and need.pools):
                break
            needs.append(need)
        if len(needs) == len(threads) and any(pool.key in need.pools for need in needs):
            yield _finding(pool, threads, needs)


def _finding(pool: PoolNow, threads: list[ThreadNow], needs: list[Need]) -> Finding:
    waiting = Counter(item_name(thread.item) or "a call" for thread in threads)
    queued = list(dict.fromkeys(name for need in needs for name in need.queued))
    own = set(waiting) | set(queued)
    steps = [step for step in dict.fromkeys(_through(need) for need in needs) if step and step not in own]
    place = threads[0].place
    count = len(threads)
    through = f" (through {' and '.join(steps[:2])})" if steps else ""
    name = f"thread pool {pool.name}" if pool.name else "thread pool"
    message = (
        f"all {count} thread{'s' * (count != 1)} of the {name} wait in {' and '.join(f'{n}()' for n in waiting)} at "
        f"{where(place)} for {' and '.join(f'{n}()' for n in queued[:3])}{through}, which "
        f"{'is' if len(queued) == 1 else 'are'} queued behind them in the same pool ({len(pool.queued)} queued), "
        f"and no thread will be free before. Run the inner call in a pool of its own, or do not wait for it in a "
        f"thread."
    )
    return Finding(
        code="THREAD_POOL_EXHAUSTED",
        message=message,
        severity="error",
        level="PROVEN",
        jobs=(*waiting, *queued),
        resource=name,
        location=location(place),
        since_s=None,
        evidence=tuple(_evidence(pool, threads, needs)),
    )


def _through(need: Need) -> str:
    """Return in words what is between the wait and the queue: coroutines, and functions in other threads."""
    names = [
        step.removeprefix("coroutine ").partition(" in thread ")[0]
        for step in need.steps
        if "queued" not in step
    ]
    return ", ".join(name for name in dict.fromkeys(names) if not name.startswith("a future"))


def _evidence(pool: PoolNow, threads: list[ThreadNow], needs: list[Need]) -> Iterator[str]:
    for thread, need in zip(threads, needs, strict=True):
        yield f"thread {thread.name}: {item_name(thread.item)}() at {where(thread.place)}"
        for step in need.steps:
            yield f"  needs {step}"
    for item in pool.queued[:10]:
        yield f"queued: {item_name(item)}()"
