"""The suites: each file one question, answered as a list of figures."""

from typing import Final, NamedTuple


class Suite(NamedTuple):
    """One question that the benchmarks ask.

    Attributes:
        module: Has ``measure(plan) -> list[Figure]``; imported when it is asked, as a peer's import is not cheap.
        title: The heading of its tables.
    """

    module: str
    title: str


SUITES: Final = {
    "core": Suite("bench.suites.core", "Runners: CPU per job, as a ratio to the bare pool"),
    "handlers": Suite("bench.suites.handlers", "Handlers: what listening adds, in bare pools"),
    "otel": Suite("bench.suites.otel", "OpenTelemetry: what a span costs"),
    "delivery": Suite("bench.suites.delivery", "OpenTelemetry: what arrives"),
    "record": Suite(
        "bench.suites.record", "The record: what it adds to a batch, and the size of the file, a job"
    ),
    "gather": Suite("bench.suites.gather", "Small calls, as a ratio to asyncio's own"),
    "retry": Suite("bench.suites.retry", "Retry, as a ratio to a loop by hand"),
    "instrument": Suite("bench.suites.instrument", "Instrumenting: what it adds to a call, to a job"),
    "memory": Suite("bench.suites.memory", "Memory: slope of the peak, bytes a job"),
    "import": Suite("bench.suites.imports", "Import, beyond asyncio"),
    "hold": Suite("bench.suites.hold", "How long one turn holds the event loop"),
    "look": Suite("bench.suites.look", "Looks of the diagnosis at 10,000 tasks"),
}
"""By the name that `--only` takes, in the order in which they are asked."""
