"""Delivery: what arrives of a burst of spans at a collector that takes its time, with everyone's own defaults."""

import json

from bench.burst import burst
from bench.figure import Figure, figure
from bench.plan import BUDGET_CELL, Plan
from bench.receiver import Receiver, receiving
from bench.suites.otel import ASYNCIO, ask_asyncio, exporters

SUITE = "delivery"
LATENCIES_MS = (0, 50, 250, 1_000)
GROUP = f"a burst of {BUDGET_CELL[0]:,} spans to a collector that answers after ...: "


def measure(plan: Plan) -> list[Figure]:
    """Run one burst for everyone at every latency; once, because losses of this size do not spread."""
    del plan
    figures = []
    with receiving() as receiver:
        for latency_ms in LATENCIES_MS:
            for one in exporters():
                figures += _figures(one.name, latency_ms, *burst(one, receiver, latency_ms))
            figures += _of_asyncio(receiver, latency_ms)
    return figures


def _of_asyncio(receiver: Receiver, latency_ms: int) -> list[Figure]:
    said = ask_asyncio("burst", receiver, latency_ms)
    return _figures(ASYNCIO, latency_ms, *json.loads(said)) if said else []


def _figures(row: str, latency_ms: int, lost: int, per_second: float) -> list[Figure]:
    column = f"{latency_ms:,} ms"
    return [
        figure(SUITE, f"{GROUP}spans lost", row, column, "lost", [lost], judged=True),
        figure(SUITE, f"{GROUP}spans per second, until the last is there", row, column, "/s", [per_second]),
    ]
