"""The ceilings: the most that each of spanloom's rows may cost.

Unless said otherwise a number is CPU time as a ratio to the bare pool, at 10,000 jobs and a limit of 64 on
CPython 3.11 with the garbage collector frozen. All were reached by prototypes before the library was
written; a ceiling is lowered when the code gets faster, and raised only together with the reason in the
changelog.
"""

_BOTH = ("sleep0", "future")


def _pair(suite: str, row: str, sleep0: float, future: float) -> dict[tuple[str, str, str], float]:
    return {(suite, row, column): value for column, value in zip(_BOTH, (sleep0, future), strict=True)}


CEILINGS: dict[tuple[str, str, str], float] = {
    # runners with events, parents and isolation, the recorder on: the default
    **_pair("core", "spanloom run_jobs", 3.6, 2.5),
    **_pair("core", "spanloom async_map", 3.6, 2.5),
    **_pair("core", "spanloom stream", 3.7, 2.6),
    **_pair("core", "spanloom run_jobs, context", 1.30, 1.18),
    # no handler and no recorder: nobody listens
    **_pair("core", "spanloom run_jobs, recorder off", 3.2, 2.2),
    **_pair("core", "spanloom run_jobs, context, recorder off", 1.09, 1.05),
    # what a handler adds to the same runner without it
    **_pair("handlers", "spanloom + DebugHandler", 0.1, 0.1),
    **_pair("handlers", "spanloom + DebugHandler, context", 0.07, 0.07),
    **_pair("handlers", "spanloom + OpenTelemetryHandler", 1.2, 1.2),
    **_pair("handlers", "spanloom + OpenTelemetryHandler, context", 1.2, 1.2),
    **_pair("handlers", "spanloom + OpenTelemetryHandler, OTLP bytes", 0.6, 0.6),
    **_pair("handlers", "spanloom + OpenTelemetryHandler, OTLP bytes, context", 0.5, 0.5),
    **_pair("handlers", "spanloom + ProgressHandler", 0.1, 0.1),
    **_pair("handlers", "spanloom + ProgressHandler, context", 0.1, 0.1),
    # what spans add to the same run without them, live parents included; and that, as a ratio to the SDK by hand
    ("otel", "spanloom, lean", "production"): 2.0,
    ("otel", "spanloom, lean", "production + encoding + sending, to the SDK by hand"): 0.17,
    # spans of a burst that do not arrive, by the time that the collector takes to answer
    **{
        ("delivery", row, f"{latency_ms:,} ms"): 0.0
        for row in ("spanloom, lean", "spanloom, lean + spool", "spanloom, SDK's tracer")
        for latency_ms in (0, 50, 250, 1_000)
    },
    # microseconds and bytes a job, of a record of the same run without it
    **{
        ("record", row, column): most
        for row, most in (("spanloom + RecordHandler", 4.0), ("the file", 250.0))
        for column in (
            "sleep0",
            "sleep0, context",
            "1 in 10 fails",
            "0.3 s each",
            "0.2 s on average, at random",
        )
    },
    # to asyncio.gather
    ("gather", "spanloom gather", "4"): 1.0,
    ("gather", "spanloom gather", "1,000"): 1.0,
    ("gather", "spanloom gather", "10,000"): 1.35,
    ("gather", "spanloom run_jobs + DebugHandler", "4"): 1.25,
    # to asyncio.wait, then cancelling the losers
    ("gather", "spanloom race", "race of 4"): 1.0,
    # to a loop written by hand around a call that succeeds at once
    ("retry", "spanloom retry, no events", "first try succeeds"): 1.10,
    ("retry", "spanloom retry", "first try succeeds"): 2.0,
    # microseconds of CPU time that a decorated call adds to the bare one
    ("instrument", "@traced", "a coroutine function"): 2.0,
    ("instrument", "@traced", "... with an argument by name"): 2.0,
    # bytes a job
    ("memory", "spanloom run_jobs", "list, traced"): 300.0,
    ("memory", "spanloom run_jobs", "list, resident"): 300.0,
    # "flat": half a byte a job is below what the pages of a million jobs can tell from nothing
    ("memory", "spanloom stream", "iterator, resident"): 0.5,
    ("memory", "spanloom stream", "iterator, traced"): 0.5,
    # milliseconds
    ("import", "spanloom", "wall"): 50.0,
    ("hold", "spanloom run_jobs", "ready"): 10.0,
    ("hold", "spanloom run_jobs", "sleep0"): 10.0,
    ("hold", "spanloom async_map, checkpoint", "ready"): 10.0,
    ("hold", "spanloom async_map, checkpoint", "sleep0"): 10.0,
    # milliseconds of a look at 10,000 tasks
    **{
        ("look", row, f"{program}, {column}"): most
        for row in ("why() in a thread", "spanloom why, from outside")
        for program in ("sleeping", "queueing", "replying", "running")
        for column, most in (("hold", 10.0), ("cpu", 1_000.0), ("wall", 1_000.0))
    },
}


def ceiling(suite: str, row: str, column: str) -> float | None:
    """Return the ceiling of a figure, None where nothing is promised."""
    return CEILINGS.get((suite, row, column))
