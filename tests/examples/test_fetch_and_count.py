"""The pipeline of the demo: its totals are right, its report is there, its spans arrive, and Ctrl-C ends it."""

from __future__ import annotations

import gzip
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.environments import without_ours
from tests.terminal import Terminal

if sys.platform != "win32":
    pass

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fetch_and_count.py"
TIMEOUT_S = 200
TOTALS = re.compile(
    r"^totals: (?P<wanted>\d+) documents = (?P<ok>\d+) ok \+ (?P<failed>\d+) failed; "
    r"(?P<attempts>\d+) attempts = (?P<requests>\d+) requests served; (?P<early>\d+) of them too early; "
    r"(?P<bytes>\d+) bytes = (?P<served>\d+) bytes served; (?P<tokens>\d+) tokens in (?P<counted>\d+) documents; "
    r"(?P<events>\d+) events (?P<lost>\d+) lost$",
    re.MULTILINE,
)


def start(*arguments: object, stderr: int = subprocess.PIPE, **variables: str) -> subprocess.Popen[str]:
    """Start the example as a user would, with nothing in the environment that changes what it does."""
    clean = without_ours()
    return subprocess.Popen(
        [sys.executable, str(EXAMPLE), *map(str, arguments)],
        env=clean | {"PYTHONIOENCODING": "utf-8"} | variables,
        stdout=subprocess.PIPE,
        stderr=stderr,
        encoding="utf-8",
    )


def totals_of(text: str) -> dict[str, int]:
    """Read the one line of totals; its commas are left out."""
    found = TOTALS.search(text.replace(",", ""))
    assert found is not None, text
    return {name: int(number) for name, number in found.groupdict().items()}


def test_the_report_is_there_and_adds_up() -> None:
    """Progress, the timing table, the tree of the run, and totals that agree with the server's."""
    process = start("--documents", 150, "--workers", 24, "--seed", 7)
    text, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, text + errors
    totals = totals_of(text)
    assert totals["wanted"] == totals["ok"] + totals["failed"] == 150
    assert totals["attempts"] == totals["requests"] > 150
    assert totals["bytes"] == totals["served"] > totals["tokens"] > 0
    assert (totals["counted"], totals["early"], totals["lost"]) == (totals["ok"], 0, 0)
    assert "fetch: 150/150" in errors
    assert f"count tokens: {totals['ok']}/{totals['ok']}" in errors
    assert rows_of(text) >= {
        ("trace", "fetch and count"),
        ("step", "read the index"),
        ("batch", "fetch"),
        ("job", "fetch"),
        ("attempt", "fetch"),
        ("backoff", "fetch"),
        ("batch", "count tokens"),
        ("job", "count_tokens"),
    }
    tree = tree_of(text)
    assert tree[0].startswith("trace fetch and count")
    for line in ("  batch fetch", "    job fetch x 150 ", "      job fetch[", "        attempt fetch"):
        assert any(found.startswith(line) for found in tree), text


def rows_of(text: str) -> set[tuple[str, str]]:
    """Return type and name of each row of the timing table, whose columns are at least two blanks apart."""
    table = text.split("Where the time went\n\n", 1)[1].split("\n\n", 1)[0].splitlines()
    heads = re.split(r"\s{2,}", table[0])
    assert {"type", "name", "count", "queue", "run", "busy", "back-off"} <= set(heads)
    return {
        (cells[0], cells[1]) for line in table[2:] if len(cells := re.split(r"\s{2,}", line)) == len(heads)
    }


def tree_of(text: str) -> list[str]:
    """Return the lines of the tree."""
    return text.split("What happened, with the slowest jobs\n\n", 1)[1].split("\n\n", 1)[0].splitlines()


def test_totals_that_do_not_add_up_fail(tmp_path: Path) -> None:
    """A server that counts one request too many is noticed: the exit code is not 0."""
    server = (EXAMPLE.parent / "text_server.py").read_text(encoding="utf-8")
    wrong = server.replace('"requests": self.attempts.total()', '"requests": self.attempts.total() + 1')
    assert wrong != server
    (tmp_path / "text_server.py").write_text(wrong, encoding="utf-8")
    (tmp_path / EXAMPLE.name).write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(tmp_path / EXAMPLE.name), "--documents", "5"],
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "this does not add up: " in done.stderr


def test_more_documents_than_there_are() -> None:
    """Asking for too many is said in one line."""
    process = start("--documents", 1_000_000)
    text, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1, text + errors
    assert errors.startswith("the server has ")
    assert "Traceback" not in errors


# -- in a terminal -----------------------------------------------------------------------------------------------------


@contextmanager
def in_terminal(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], Terminal]]:
    """Run the example with a terminal as its standard error."""
    terminal = Terminal()
    with start(*arguments, stderr=terminal.theirs) as process:
        terminal.start()
        try:
            yield process, terminal
        finally:
            process.kill()
            process.wait(TIMEOUT_S)
            terminal.close()


needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


@needs_terminal
def test_a_terminal_shows_bars() -> None:
    """One bar per batch, which stays at n/n."""
    with in_terminal("--documents", 40) as (process, terminal):
        text, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0
    ok = totals_of(text)["ok"]
    assert re.search(r"fetch: 100%\|.+\| 40/40 ", terminal.text)
    assert re.search(rf"count tokens: 100%\|.+\| {ok}/{ok} ", terminal.text)


@needs_terminal
def test_ctrl_c_ends_it_with_a_report() -> None:
    """Ctrl-C stops all jobs, closes the bar, shows the times until then, and ends with 130 and no traceback."""
    with in_terminal("--documents", 2000, "--workers", 2) as (process, terminal):
        terminal.wait_for("fetch:")
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 130
    assert "interrupted" in terminal.text
    assert "Traceback" not in terminal.text
    assert ("trace", "fetch and count") in rows_of(text)


# -- exported ----------------------------------------------------------------------------------------------------------


class Receiver(ThreadingHTTPServer):
    """An OTLP/HTTP receiver: what a collector or Jaeger does with the requests, and no more."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[Span]:
        """Return all spans received so far."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Receive(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        assert isinstance(self.server, Receiver)
        if self.path == "/v1/traces":
            self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


PARENTS = {
    ("step", "read the index"): {("trace", "fetch and count")},
    ("batch", "fetch"): {("trace", "fetch and count")},
    ("batch", "count tokens"): {("trace", "fetch and count")},
    ("job", "fetch"): {("batch", "fetch")},
    ("job", "count_tokens"): {("batch", "count tokens")},
    ("attempt", "fetch"): {("job", "fetch")},
    ("backoff", "fetch"): {("job", "fetch")},
    ("slot_wait", "connection"): {("attempt", "fetch")},
}


def test_the_run_is_exported(receiver: Receiver) -> None:
    """With an endpoint in the environment, one whole trace arrives there: each span under its own parent."""
    process = start("--documents", 80, "--workers", 48, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    text, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, text + errors
    totals, spans = totals_of(text), receiver.spans()
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans) == totals["events"]
    assert len({span.trace_id for span in spans}) == 1
    assert [kind(span) for span in spans if not span.parent_span_id] == [("trace", "fetch and count")]
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for span in spans:
        if span.parent_span_id:
            parent = by_id[span.parent_span_id]
            found.setdefault(kind(span), set()).add(kind(parent))
            assert parent.start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= parent.end_time_unix_nano
    assert found == PARENTS
    counts = Counter(map(kind, spans))
    assert counts["job", "fetch"] == totals["wanted"]
    assert counts["job", "count_tokens"] == totals["ok"]
    assert counts["attempt", "fetch"] == totals["attempts"]
    assert {service_name(request) for request in receiver.requests} == {"fetch-and-count"}


def test_exported_statuses_tell_failures_from_retries(receiver: Receiver) -> None:
    """Each failed attempt is an error; a job is one only if its last attempt failed."""
    process = start("--documents", 200, "--seed", 2, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    text, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, text + errors
    totals = totals_of(text)
    failed = Counter(
        kind(span) for span in receiver.spans() if span.status.code == Status.StatusCode.STATUS_CODE_ERROR
    )
    assert failed["attempt", "fetch"] == totals["attempts"] - totals["ok"] > 0
    assert failed["job", "fetch"] == totals["failed"] > 0
    assert set(failed) <= {("attempt", "fetch"), ("job", "fetch")}


def kind(span: Span) -> tuple[str, str]:
    """Return the type of the event, and its name without the type in front."""
    values = {attribute.key: attribute.value.string_value for attribute in span.attributes}
    return values["spanloom.type"], span.name.removeprefix(values["spanloom.type"] + " ")


def service_name(request: ExportTraceServiceRequest) -> str:
    """Return the service that a request comes from."""
    (resource,) = request.resource_spans
    return {pair.key: pair.value.string_value for pair in resource.resource.attributes}["service.name"]
