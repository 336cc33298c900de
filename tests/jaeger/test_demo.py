"""`make jaeger`, as its user runs it: it tells where the traces are, and leaves nothing running."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest

from tests.jaeger.conftest import DEADLINE_S
from tools.backends.server import ROOT, fetch


def test_the_demo_is_in_jaeger_until_it_is_stopped() -> None:
    """Every address that it prints, and every one of the how-to, answers with the trace; after Ctrl-C none does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.backends"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        said = "".join(lines)
        traces = re.findall(r"^trace +([0-9a-f]{32})  \d+ spans, '(.+)'$", said, re.MULTILINE)
        trace_id, name = traces[0]
        assert name == "fetch and count"
        queries = re.findall(r"http://127\.0\.0\.1:\d+/api/\S+", said)
        assert len(queries) == 1 + 2 * len(traces)
        for query in queries:
            answer = fetch(query)
            assert json.loads(answer)
            assert query.rpartition("/")[2] in answer or trace_id in answer
        how_to = (ROOT / "docs" / "how-to" / "jaeger-in-five-minutes.md").read_text(encoding="utf-8")
        told = re.findall(r"^curl 'http://[a-z0-9.]+:16686(/\S+)'$", how_to, re.MULTILINE)
        assert len(told) >= 3
        base = queries[0].partition("/api/")[0]
        for path in told:
            path = path.replace("my-pipeline", "fetch-and-count").replace("TRACE_ID", trace_id)
            assert "fetch-and-count" in fetch(base + path)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, errors
        for query in queries:
            with pytest.raises(OSError, match="refused"):
                fetch(query)
    finally:
        process.terminate()  # it then ends its servers, which a kill would leave running
        process.communicate(timeout=DEADLINE_S)
