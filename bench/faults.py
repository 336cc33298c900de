"""What a broken collector costs the batch that is traced to it: time, memory, the end of the process, spans.

Usage: python -m bench.faults [--jobs N] [--rounds N] [--only NAME]

In every round a batch runs beside each kind of peer, and before and after it beside a healthy one; what is printed is
the median of the ratios. The peers live in a process of their own. Then, per peer: how much the resident memory grew
while ten times as many spans came, how long `close` took, and where the spans are: they must add up.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

COLUMNS = (
    "wall, of healthy",
    "CPU, of healthy",
    "RSS + MB",
    "close s",
    "produced",
    "exported",
    "dropped",
    "pending",
    "adds up",
)

PEERS = """
import json, sys, time
from contextlib import ExitStack
from tests.handlers.otel_peers import *
from tests.handlers.test_otel_pipeline_grpc import GrpcCollector, failing, retry_in
import grpc
with ExitStack() as stack:
    def http(decide=None):
        collector = stack.enter_context(HttpCollector(decide) if decide else HttpCollector())
        return collector.url.removesuffix("/v1/traces")
    def raw(serve, backlog=16):
        return f"http://127.0.0.1:{stack.enter_context(listener(serve, backlog))}"
    def rpc(decide=None):
        return stack.enter_context(GrpcCollector(decide) if decide else GrpcCollector()).url
    def always(answer):
        return http(lambda number, request: answer)
    refused = f"http://127.0.0.1:{closed_port()}"
    print(json.dumps({
        "http healthy": http(),
        "http refused": refused,
        "http never answers": raw(silent),
        "http never accepts": raw(None, 0),
        "http garbage": raw(garbage),
        "http reset midway": raw(resets),
        "http endless answer": raw(endless),
        "http 429 + Retry-After": always(Answer(429, {"Retry-After": "1"})),
        "http 500": always(Answer(500)),
        "http 503": always(Answer(503)),
        "http 413 above 20 kB": http(lambda number, request: Answer(413 if request.ByteSize() > 20_000 else 200)),
        "http partial success": always(Answer(rejected=1)),
        "http 50 ms": always(Answer(delay_s=0.05)),
        "http 250 ms": always(Answer(delay_s=0.25)),
        "http 1000 ms": always(Answer(delay_s=1.0)),
        "grpc healthy": rpc(),
        "grpc refused": refused,
        "grpc never answers": raw(silent),
        "grpc UNAVAILABLE": rpc(failing(1 << 60, grpc.StatusCode.UNAVAILABLE)),
        "grpc RESOURCE_EXHAUSTED + RetryInfo": rpc(failing(1 << 60, grpc.StatusCode.RESOURCE_EXHAUSTED,
            ("google.rpc.retryinfo-bin", retry_in(500_000_000).SerializeToString()))),
        "grpc INTERNAL": rpc(failing(1 << 60, grpc.StatusCode.INTERNAL)),
    }), flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def peers() -> Iterator[dict[str, str]]:
    """Run all the peers in a process of their own; yield their URLs by name."""
    import json

    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", PEERS],
        env=dict(os.environ, PYTHONPATH=path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(30)


class Run:
    """One handler that sends to one peer, and the batch that it traces."""

    def __init__(self, name: str, url: str, spool: Path | None) -> None:
        from spanloom.callbacks import CallbackManager
        from spanloom.handlers.otel import OpenTelemetryHandler

        protocol = "grpc" if name.startswith("grpc") else "http/protobuf"
        os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        self.handler = OpenTelemetryHandler(spool=spool)
        self.manager = CallbackManager([self.handler])

    def batch(self, jobs: int) -> tuple[float, float]:
        """Run a batch; return its wall and CPU time in seconds."""
        from spanloom.callbacks import use_callback_manager
        from spanloom.concurrency.map import async_map

        async def job(number: int) -> int:
            await asyncio.sleep(0)
            return number

        gc.collect()
        with use_callback_manager(self.manager):
            wall, cpu = time.perf_counter(), time.process_time()
            asyncio.run(async_map(job, range(jobs), limit=64))
            return time.perf_counter() - wall, time.process_time() - cpu


def resident_mb() -> float:
    """Return the resident memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def compare(name: str, urls: dict[str, str], jobs: int, rounds: int, folder: Path | None) -> str:
    """Return one line of the report."""
    healthy = f"{name.split()[0]} healthy"
    walls, cpus = [], []
    for number in range(rounds):
        times = []
        for which in (healthy, name, healthy):
            spool = None if folder is None else folder / f"{which} {number} {len(times)}".replace(" ", "-")
            run = Run(which, urls[which], spool)
            run.batch(100)
            times.append(run.batch(jobs))
            run.manager.close(0.5 if which == name else 2.0)
        walls.append(2 * times[1][0] / (times[0][0] + times[2][0]))
        cpus.append(2 * times[1][1] / (times[0][1] + times[2][1]))
    run = Run(name, urls[name], None if folder is None else folder / "memory")
    run.batch(100)
    before = resident_mb()
    for _ in range(10):
        run.batch(jobs)
    grown = resident_mb() - before
    started = time.perf_counter()
    run.manager.close()
    closed_s = time.perf_counter() - started
    counts = run.handler.stats()
    balances = counts.exported + counts.dropped + counts.pending == counts.produced
    return (
        f"| {name} | {statistics.median(walls):.3f} | {statistics.median(cpus):.3f} | {grown:.1f} | {closed_s:.2f} | "
        f"{counts.produced} | {counts.exported} | {counts.dropped} | {counts.pending} | {'yes' if balances else 'NO'} |"
    )


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults", description="Batches beside broken collectors."
    )
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="peers whose name has this in it")
    parser.add_argument("--store", choices=["memory", "spool"], action="append")
    arguments = parser.parse_args()
    os.environ["NO_PROXY"] = "127.0.0.1"
    import logging

    logging.getLogger("spanloom").setLevel(logging.ERROR)
    with peers() as urls, tempfile.TemporaryDirectory() as folder:
        for store in arguments.store or ["memory", "spool"]:
            print(f"\n### {store}: {arguments.jobs} jobs a batch, median of {arguments.rounds} rounds\n")
            print(f"| peer | {' | '.join(COLUMNS)} |")
            print(f"| --- |{' --: |' * len(COLUMNS)}")
            for name in urls:
                if arguments.only in name:
                    where = Path(folder) / name.replace(" ", "-") if store == "spool" else None
                    print(compare(name, urls, arguments.jobs, arguments.rounds, where), flush=True)


if __name__ == "__main__":
    main()
