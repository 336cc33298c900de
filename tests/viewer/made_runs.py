"""Whole runs made by hand, for the pages that are compared as they are: nothing is left to chance."""

from __future__ import annotations

from spanloom.events.error import Frame
from spanloom.viewer.analysis import Analysis
from tests.viewer.runs import Made, dead, run

__all__ = ["died", "pipeline"]

RAISED = (Frame("/srv/app/pipeline.py", 12, "main"), Frame("/srv/app/client.py", 48, "Client.get"))


def not_found(index: int) -> tuple[str, str, tuple[Frame, ...]]:
    return (
        "httpx.HTTPStatusError",
        f"Client error '404 Not Found' for url 'http://127.0.0.1:8080/doc/{index}'",
        RAISED,
    )


def died() -> Analysis:
    """Return a run that was killed while it fetched; job 9 needed two attempts, jobs 4 and 11 failed."""
    made = Made()
    trace = made.event("trace", "fetch and count", 5, None)
    made.event("step", "read the index", 6, 36, trace)
    batch = made.event("batch", "fetch", 40, None, trace)
    slots = [40.0] * 4
    for index in range(40):
        start = min(slots)
        if start >= 400:
            break
        took = 30 + index * 37 % 23 + (160 if index == 9 else 0)
        end = start + took if start + took < 400 else None
        error = not_found(index) if index in {4, 11} else None
        job = made.job(
            "fetch", index, start, end, batch, queue=start - 40, error=error, attempt=1 + (index == 9)
        )
        inside = {"job_index": index, "batch_id": batch}
        if index == 9:
            made.event(
                "attempt",
                "fetch",
                start,
                start + 120,
                job,
                error=("httpx.ReadTimeout", ""),
                attempt=1,
                **inside,
            )
            made.event("backoff", "fetch", start + 120, start + 150, job, attempt=1, **inside)
            made.event("attempt", "fetch", start + 150, end, job, attempt=2, **inside)
        else:
            attempt = made.event("attempt", "fetch", start, end, job, error=error, attempt=1, **inside)
            if end is None:
                made.event("slot_wait", "connection", start + 1, None, attempt, **inside)
        slots[slots.index(start)] = start + took
    return made.analyse(dead(400, dropped=3, name="fetch_and_count.py"))


def pipeline(orders: float = 12, fails: int = 0, batches: int = 1) -> Analysis:
    """Return a run that ended: jobs that call one of three endpoints, of which ``orders`` takes so many ms."""
    made = Made()
    now = 1.0
    root = made.event("trace", "main", now, 0)
    for number in range(batches):
        batch = made.event("batch", "load", now, 0, root)
        slots = [now] * 3
        for index in range(60):
            start = min(slots)
            name = ("users", "orders", "items")[index % 3]
            took = (orders if name == "orders" else 10) + (index * 7 + number) % 5
            error = (
                ("app.BadOrder", f"order {index} has no customer")
                if name == "orders" and index < fails
                else None
            )
            job = made.job("load", index, start, start + took + 0.25, batch, queue=start - now, error=error)
            made.event("step", f"GET /{name}", start, start + took, job, error=error, job_index=index)
            slots[slots.index(start)] = start + took + 0.25
        now = max(slots) + 2
        made.end(batch, now - 1)
    made.end(root, now)
    return made.analyse(run(now + 1))
