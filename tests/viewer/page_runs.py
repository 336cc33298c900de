"""Runs that never ran, for the page: what must be seen of them is known."""

from __future__ import annotations

import random
from heapq import heappop, heappush
from typing import Any, Final

import msgspec

from spanloom.events.error import ErrorInfo, Frame
from spanloom.store.model import Record, Run
from tests.viewer.runs import MS, Made, dead, run

FRAMES: Final = (
    Frame("/srv/app/pipeline.py", 57, "fetch"),
    Frame("httpx/_models.py", 829, "raise_for_status"),
)
BUSY: Final = ("httpx.HTTPStatusError", "503 Service Unavailable for /documents/{}")

HOSTILE: Final = (
    "</script><script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1">',
    "--><!-- <script> <svg onload=window.hacked=1>",
    "javascript:window.hacked=1",
    "${window.hacked=1} {{window.hacked=1}} %%script%% %%description%%",
    "'\"`;window.hacked=1;//",
    "]]></style><iframe srcdoc='<script>parent.hacked=1</script>'>",
    "\u2028\u2029\x00\x1b[31m\ud800\u202egnp.exe\u2066 \r\n\t\x7f\x85\ufeff",
    "<a href=javascript:window.hacked=1 style='position:fixed;inset:0'>x</a>",
    "</title></textarea></noscript></template><base href=//127.0.0.1:1/>",
)

Recorded = tuple[Run, list[Record]]


def plain(jobs: int, slots: int, *, failed: frozenset[int] = frozenset()) -> Recorded:
    """Return a batch of `jobs` jobs on `slots` slots, 10 ms each or so, of which those in `failed` fail."""
    made, chance = Made(), random.Random(1)
    batch = made.event("batch", "fetch", 0, 0, batch_id=1, payload={"runner": "run_jobs", "limit": slots})
    free = [0.0] * slots
    for index in range(jobs):
        start = heappop(free) + 0.02
        end = start + 10 * chance.lognormvariate(0, 0.5)
        heappush(free, end)
        error = ("RuntimeError", f"no {index}", FRAMES) if index in failed else None
        made.job("fetch", index, start, end, batch, queue=start, error=error)
    end = max(free)
    made.end(batch, end)
    return run(end), made.sorted()


def lively(jobs: int, slots: int) -> Recorded:
    """Return a pipeline: an index is read, documents are fetched with retries under a limiter, then counted."""
    made, chance = Made(), random.Random(2)
    root = made.event("trace", "fetch and count", 0, 0)
    made.event("step", "read the index", 2, 140, root)
    counting = _fetch(made, root, jobs, slots, chance)
    end = _count(made, root, jobs, counting, chance)
    made.end(root, end)
    return run(end), made.sorted()


def killed(recorded: Recorded, at: float) -> Recorded:
    """Return what is left of a run that is killed after `at` ms."""
    at_ns = round(at * MS)
    open_now = {"end_ns": None, "status": "interrupted", "error": None}
    left = [
        msgspec.structs.replace(record, **open_now) if (record.end_ns or 0) > at_ns else record
        for record in recorded[1]
        if record.start_ns < at_ns
    ]
    return dead(at), left


def _fetch(made: Made, root: int, jobs: int, slots: int, chance: random.Random) -> float:
    begin = 150.0
    batch = made.event(
        "batch", "fetch", begin, 0, root, batch_id=root, payload={"runner": "run_jobs", "limit": slots}
    )
    free = [begin] * slots
    last = begin
    for index in range(jobs):
        start = heappop(free) + 0.03
        last = max(last, end := _fetch_one(made, batch, index, start, start - begin, chance))
        heappush(free, end)
    made.end(batch, last)
    return last + 0.02


def _fetch_one(
    made: Made, batch: int, index: int, start: float, queue: float, chance: random.Random
) -> float:
    """Add a job of up to three attempts; return when it ends."""
    job = made.job("fetch", index, start, None, batch, queue=queue)
    inside = {"job_index": index, "batch_id": batch}
    now, attempt = start, 0
    while True:
        attempt += 1
        tried = made.event("attempt", "fetch", now, 0, job, attempt=attempt, **inside)
        if chance.random() < 0.25:
            waited = chance.expovariate(1) * 15
            made.event(
                "slot_wait", "connection", now, now + waited, tried, queue_ns=round(waited * MS), **inside
            )
            now += waited
        now += chance.lognormvariate(0, 0.55) * 60 + (900 if index % 211 == 17 else 0)
        made.end(tried, now)
        error = None
        if chance.random() < 0.1 or index % 97 == 13:
            error = ErrorInfo(BUSY[0], BUSY[1].format(index), FRAMES)
            _change(made, tried, status="error", error=error)
        if error is None or attempt == 3:
            break
        paused = 100 * 2 ** (attempt - 1) * (1 + chance.random() * 0.1)
        made.event("backoff", "fetch", now, now + paused, job, attempt=attempt, **inside)
        now += paused
    status = "error" if error else "ok"
    if index % 301 == 40:
        status, error = "timeout", ErrorInfo("TimeoutError", "", FRAMES)
    made.end(job, now + 0.01)
    _change(made, job, status=status, error=error, attempt=attempt, busy_ns=200_000)
    return now + 0.01


def _count(made: Made, root: int, jobs: int, begin: float, chance: random.Random) -> float:
    batch = made.event(
        "batch",
        "count tokens",
        begin,
        0,
        root,
        batch_id=root,
        payload={"runner": "batch_gather", "limit": 10},
    )
    free = [begin] * 10
    for index in range(jobs):
        start = heappop(free)
        length = 3 * chance.lognormvariate(0, 0.3)
        made.job(
            "count_tokens",
            index,
            start,
            start + length,
            batch,
            queue=start - begin,
            busy_ns=round(length * MS),
        )
        heappush(free, start + length)
    made.end(batch, max(free))
    return max(free)


def _change(made: Made, event_id: int, **changes: Any) -> None:
    made.records[event_id - 1] = msgspec.structs.replace(made.records[event_id - 1], **changes)


def hostile() -> Recorded:
    """Return a run in which every text that a user or a server may choose is an attack."""
    made = Made()
    payload = {"runner": HOSTILE[1], "limit": 4, HOSTILE[2]: list(HOSTILE)}
    batch = made.event("batch", HOSTILE[0], 0, 1000, batch_id=1, payload=payload)
    for index, text in enumerate(HOSTILE):
        error = (text, text, (Frame(text, index, text),))
        job = made.job(text, index, index + 0.1, 500, batch, queue=0, error=error, payload={text: text})
        made.event(
            text,
            text,
            index + 0.2,
            333,
            job,
            error=error,
            status=text,
            job_index=index,
            batch_id=batch,
            payload={text: {text: [text]}},
        )
    texts = dict.fromkeys(("name", "cwd", "host", "python", "version", "run_id"), HOSTILE[0])
    return run(1000, argv=HOSTILE, **texts), made.sorted()
