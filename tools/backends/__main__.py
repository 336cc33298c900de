"""`make jaeger`: Jaeger and a Collector on this machine, with the run of the example pipeline in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, Final

from tools.backends import Collector, Jaeger
from tools.backends.server import ROOT

SERVICE: Final = "fetch-and-count"
ROOT_NAME: Final = "fetch and count"
FOLDER: Final = ROOT / "build" / "jaeger"
DOCUMENTS: Final = 200
"""A trace that one looks at, of some hundreds of spans; `make demo` fetches ten times as many."""
ARRIVAL_TIMEOUT_S: Final = 60.0


def run_demo(endpoint: str) -> None:
    """Run the example pipeline, with its spans going to `endpoint`."""
    subprocess.run(
        [sys.executable, str(ROOT / "examples" / "fetch_and_count.py"), "--documents", str(DOCUMENTS)],
        env=os.environ
        | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_SERVICE_NAME": SERVICE,
        },
        check=True,
    )


def arrived(jaeger: Jaeger) -> list[dict[str, Any]]:
    """Return the traces of the demo, its own first, when that is complete: a root ends last, and arrives last."""
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    while time.monotonic() < deadline:
        # A large batch is divided: its other traces lead to the demo's own.
        traces = sorted(jaeger.traces(SERVICE), key=lambda trace: root_of(trace) != ROOT_NAME)
        if traces and root_of(traces[0]) == ROOT_NAME:
            return traces
        time.sleep(0.2)
    raise TimeoutError(f"the spans did not arrive; the servers' own words are in {FOLDER}/*.log")


def root_of(trace: dict[str, Any]) -> str:
    """Return the name of the span that has no parent; nothing if that has not come yet."""
    for span in trace["spans"]:
        if all(reference["refType"] != "CHILD_OF" for reference in span["references"]):
            return str(span["operationName"])
    return ""


def report(jaeger: Jaeger, collector: Collector, traces: list[dict[str, Any]]) -> str:
    """Return what there is to see, and where."""
    lines = [
        "",
        f"Jaeger's API     {jaeger.url}/api/traces?service={SERVICE}",
        *(
            f"trace            {trace['traceID']}  {len(trace['spans'])} spans, {root_of(trace)!r}\n"
            f"  as OTLP        {jaeger.url}/api/v3/traces/{trace['traceID']}\n"
            f"  as Jaeger's    {jaeger.url}/api/traces/{trace['traceID']}"
            for trace in traces
        ),
        f"OTLP goes in at  {collector.grpc_url} (gRPC), {collector.http_url} (HTTP)",
        f"servers' logs    {FOLDER.relative_to(ROOT)}/*.log",
        "",
        f"{jaeger.url} has no page: the page is not part of Jaeger's Go module, of which this Jaeger is built.",
        "For the page, take Docker or a release of Jaeger: docs/how-to/jaeger-in-five-minutes.md tells how.",
        "",
        "Send your own:",
        f"  OTEL_EXPORTER_OTLP_ENDPOINT={collector.http_url} OTEL_SERVICE_NAME=my-pipeline SPANLOOM_HANDLERS=otel "
        "python my_pipeline.py",
        "",
        "Ctrl-C stops both.",
    ]
    return "\n".join(lines)


def interrupt(*_: object) -> None:
    """End as after Ctrl-C."""
    raise KeyboardInterrupt


def main() -> int:
    """Start both, run the demo, tell, and wait for Ctrl-C."""
    signal.signal(signal.SIGTERM, interrupt)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    try:
        jaeger = Jaeger(FOLDER, standard_ports=True)
        collector = Collector(FOLDER, jaeger=jaeger.otlp_grpc, standard_ports=True)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    # The Collector ends first: it hands over what it still holds.
    with contextlib.suppress(KeyboardInterrupt), jaeger, collector:
        run_demo(collector.http_url)
        print(report(jaeger, collector, arrived(jaeger)), flush=True)
        while True:
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
