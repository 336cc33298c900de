"""SYNC_WAIT_ON_OWN_LOOP: the loop's thread waits for what only this loop can run."""

from __future__ import annotations

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.watch.blocked import described, evidence_of, jobs_of
from spanloom.diagnosis.watch.frames import location, where
from spanloom.diagnosis.watch.needs import Needs
from spanloom.diagnosis.watch.pulse import Hold
from spanloom.diagnosis.watch.threads import ThreadNow, Threads

__all__ = ["own_loop"]


def own_loop(seen: Threads, thread: ThreadNow, hold: Hold | None, since_s: float | None) -> Finding | None:
    """Return the finding on a loop whose `thread` waits for it, or ``None``."""
    if thread.loop is None or thread.loop.polls or thread.wait is None:
        return None
    stopped = id(thread.loop.loop)
    need = Needs(seen, stopped=stopped, timed=True).of_wait(thread.wait)
    if need is None or stopped not in need.loops:
        return None
    who = described(hold) if hold is not None else "a callback"
    place = thread.place
    waits_for = need.coroutine or "a task"
    via = [step for step in need.steps if step != f"coroutine {need.coroutine}"]
    chain = f", by way of {', then '.join(via)}," if via else ""
    what = f"{place.name}() at {where(place)}" if place is not None else "a call"
    message = (
        f"{who} waits synchronously in the thread of its own event loop ({what}: {verb(thread)}){chain} for coroutine "
        f"{waits_for}, which only this loop can run, and which cannot run while its thread waits. "
        f"Await it (await {waits_for}(...), or await asyncio.wrap_future(...)), or wait in another thread."
    )
    return Finding(
        code="SYNC_WAIT_ON_OWN_LOOP",
        message=message,
        severity="error",
        level="PROVEN" if thread.wait.kind in {"future", "futures"} else "LIKELY",
        jobs=(*(jobs_of(hold) if hold is not None else ()), waits_for),
        resource=None,
        location=location(place),
        since_s=since_s,
        evidence=(
            *(f"needs {step}" for step in need.steps),
            *(evidence_of(hold) if hold is not None else ()),
        ),
    )


def verb(thread: ThreadNow) -> str:
    """Return the call that a thread waits in, as in source code."""
    wait = thread.wait
    if wait is None:
        return "a call"
    return f"{type(wait.what).__name__}.{wait.verb}()" if wait.kind != "futures" else f"{wait.verb}()"
