"""Every way out of the process, with the whole corpus: no secret is in logs, spans, files or what is printed."""

from __future__ import annotations

import asyncio
import io
import logging
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry import trace as trace_api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import spanloom
from spanloom import CallbackManager, EventType, async_map, use_callback_manager
from spanloom.events import Event
from spanloom.events.codec import encode_lines
from spanloom.handlers.debug import DebugHandler
from spanloom.handlers.logging import LoggingHandler
from spanloom.handlers.otel import OpenTelemetryHandler
from spanloom.handlers.progress import ProgressHandler
from spanloom.handlers.record import RecordHandler
from tests.handlers.otlp import Receiver
from tests.redaction.corpus import Sample, leaked, samples

SAMPLES = samples(21)
LOGIN = ["tool", "login", "-u", "bob:swordfish1", "-p", "swordfish2"]


pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


class OwnError(Exception):
    """An error whose class makes its message."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"the server said: {self.text}"


async def fail(sample: Sample) -> None:
    """Put a secret wherever a user can put one, and fail with it."""
    manager = spanloom.get_callback_manager()
    with manager.event(
        "step", {"detail": sample.text, "nested": {"list": [sample.text]}}, name="step"
    ) as step:
        step.set(answer=sample.text)
        manager.emit("note", {"text": sample.text})
        span = trace_api.get_current_span()
        span.set_attribute("by.hand", sample.text)
        span.add_event("by hand", {"text": sample.text})
        span.record_exception(ValueError(sample.text))
    with manager.event(
        EventType.LLM, {"prompt": sample.text, "messages": [{"role": "user", "content": sample.text}]}
    ):
        pass
    raise (ValueError if len(sample.name) % 2 else OwnError)(f"401 for {sample.text}")


async def run_all(*handlers: object, names: bool = True, close_s: float = 60) -> CallbackManager:
    """Run the corpus through a manager with `handlers`."""
    manager = CallbackManager(handlers)  # type: ignore[arg-type]  # handlers of whatever class
    with use_callback_manager(manager):
        await async_map(fail, SAMPLES, limit=16, on_error="return", desc="corpus")
        for sample in SAMPLES if names else ():
            with manager.event("named", name=sample.text):
                pass
            with manager.event(sample.text):
                pass
    await manager.aclose(close_s)
    return manager


def assert_no_leak(text: str) -> None:
    """Check that no secret of the corpus is in `text`, and that the text is that of the corpus."""
    assert "***" in text
    assert leaked(SAMPLES, text) == set()


async def test_logs_hold_no_secret() -> None:
    """Neither the messages of `LoggingHandler` nor the fields of its records."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("tests.redaction.sinks")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(Keep())
    await run_all(LoggingHandler(logger))
    assert len(records) > 6 * len(SAMPLES)
    assert_no_leak("\n".join(f"{record.getMessage()} {vars(record)}" for record in records))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["lean", "sdk", "profiles", "openinference"])
async def test_spans_hold_no_secret(way: str, receiver: Receiver) -> None:
    """Exception messages, stack traces, status, attributes, contents and links: in none of the bytes that arrive."""
    provider = TracerProvider()
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(f"{receiver.url}/v1/traces"), max_queue_size=50_000)
    )
    options: dict[str, object] = {"capture_content": True}
    if way == "sdk":

        class Looks(SpanProcessor):
            pass

        provider.add_span_processor(Looks())
    elif way == "profiles":
        options["profile"] = "gen_ai"
    elif way == "openinference":
        options["profile"] = "openinference"
    handler = OpenTelemetryHandler(tracer_provider=provider, **options)  # type: ignore[arg-type]  # options by name
    await run_all(handler)
    provider.shutdown()
    assert len(receiver.spans()) > 3 * len(SAMPLES)
    assert_no_leak(
        "\n".join(request.SerializeToString().decode("utf-8", "replace") for _, request in receiver.requests)
    )


async def test_spool_files_hold_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits on disk for a collector that is down is as clean as what is sent."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    handler = OpenTelemetryHandler(spool=tmp_path / "spool", capture_content=True)
    await run_all(handler, close_s=5)  # the collector is down
    files = [path for path in (tmp_path / "spool").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 100_000
    assert_no_leak("\n".join(path.read_bytes().decode("utf-8", "replace") for path in files))


async def test_the_record_holds_no_secret(tmp_path: Path) -> None:
    """Neither the file nor its write-ahead log, with payloads on, at any time of the run."""
    path = tmp_path / "runs.db"
    handler = RecordHandler(path, payloads=True)
    manager = CallbackManager([handler])
    with use_callback_manager(manager):
        await async_map(fail, SAMPLES, limit=16, on_error="return", desc="corpus")
        for sample in SAMPLES:
            with manager.event("named", name=sample.text):
                pass
        manager.flush()
        while_open = b"".join(file.read_bytes() for file in sorted(tmp_path.iterdir()))
    await manager.aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM event WHERE payload LIKE '%***%'").fetchone()[
            0
        ] > len(SAMPLES)
    closed = b"".join(file.read_bytes() for file in sorted(tmp_path.iterdir()))
    assert_no_leak(while_open.decode("utf-8", "replace"))
    assert_no_leak(closed.decode("utf-8", "replace"))


def test_the_command_line_in_a_record_holds_no_secret(
    tmp_path: Path, run_python: Callable[[str], str]
) -> None:
    """A secret among the arguments of the program is not recorded with them."""
    import subprocess

    path = tmp_path / "runs.db"
    program = (
        "import asyncio, spanloom\nfrom spanloom.handlers.record import RecordHandler\n"
        f"m = spanloom.CallbackManager([RecordHandler({str(path)!r})])\n"
        "with m.event(name='x'): pass\nm.close()"
    )
    subprocess.run(
        [sys.executable, "-c", program, "--password", "hunter2hunter2", "--api-key=abcd1234efgh", *LOGIN],
        check=True,
    )
    raw = b"".join(file.read_bytes() for file in tmp_path.iterdir()).decode("utf-8", "replace")
    assert "--password" in raw
    assert "hunter2" not in raw
    assert "tool" in raw
    assert "swordfish" not in raw
    assert "abcd1234" not in raw


async def test_debug_output_holds_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the tree, nor the table, nor the slowest, nor the summary, nor what is printed."""
    stream = io.StringIO()
    handler = DebugHandler(True, stream=stream, max_names=10_000, max_tree=10_000)
    await run_all(handler)
    shown = [stream.getvalue(), handler.table(), handler.slowest(), repr(handler.summary())]
    out = capsys.readouterr()
    assert_no_leak("\n".join([*shown, out.out, out.err]))


async def test_progress_holds_no_secret() -> None:
    """The name of a batch may hold one."""
    stream = io.StringIO()
    manager = CallbackManager([ProgressHandler(file=stream)])
    with use_callback_manager(manager):
        for sample in SAMPLES:
            await async_map(asyncio.sleep, [0], desc=sample.text)
    await manager.aclose()
    assert_no_leak(stream.getvalue())


async def test_encoded_events_hold_no_secret() -> None:
    """The lines of the codec go to files and sockets."""
    events: list[Event] = []

    class Keep(spanloom.Handler):
        def on_events(self, batch: list[Event]) -> None:
            events.extend(batch)

    await run_all(Keep())
    assert len(events) > 6 * len(SAMPLES)
    assert_no_leak(b"".join(encode_lines(events)).decode())
