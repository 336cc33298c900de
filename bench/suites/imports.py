"""Imports: what loading a library takes beyond asyncio, in a fresh interpreter with warm caches."""

from bench import ours
from bench.figure import Figure, figure
from bench.plan import Plan
from bench.subprocesses import python

SUITE = "import"
PEERS = (
    "anyio",
    "aiometer",
    "tenacity",
    "stamina",
    "tqdm.asyncio",
    "opentelemetry.sdk.trace",
    "llama_index.core",
)

_TIMED_IMPORT = """
import asyncio, time
wall, cpu = time.perf_counter_ns(), time.process_time_ns()
import {module}
print(time.perf_counter_ns() - wall, time.process_time_ns() - cpu)
"""


def _milliseconds(module: str) -> tuple[float, float]:
    wall_ns, cpu_ns = python(["-c", _TIMED_IMPORT.format(module=module)]).stdout.split()
    return int(wall_ns) / 1e6, int(cpu_ns) / 1e6


def measure(plan: Plan) -> list[Figure]:
    """Time each import in as many interpreters as the plan says, one after the other in turn."""
    modules = (*(("spanloom",) if ours.installed() else ()), *PEERS)
    for module in modules:
        _milliseconds(module)  # compiles and caches
    times: dict[str, list[tuple[float, float]]] = {module: [] for module in modules}
    for _ in range(plan.processes):
        for module in modules:
            times[module].append(_milliseconds(module))
    figures = []
    for module, pairs in times.items():
        for column, values in zip(("wall", "CPU"), zip(*pairs, strict=True), strict=True):
            figures.append(
                figure(
                    SUITE, "in a fresh interpreter, caches warm", module, column, "ms", values, judged=True
                )
            )
    return figures
