"""Spans made of a record are the spans that were exported while it was recorded."""

from __future__ import annotations

import asyncio
import functools
import io
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from itertools import islice
from typing import Any

import pytest
from msgspec import structs
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanloom import async_map, get_callback_manager, run_jobs
from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.events.error import ErrorInfo, Frame
from spanloom.events.ids import event_id_at
from spanloom.exceptions import ExportError
from spanloom.handlers.otel import OpenTelemetryHandler
from spanloom.handlers.otel._setup import make_provider
from spanloom.handlers.otel.replay import exporter_to
from spanloom.store.model import Counts, Record, Run
from spanloom.viewer.otlp import send_otlp, write_otlp
from tests.handlers.otel_peers import Answer, HttpCollector, closed_port, listener, silent
from tests.handlers.otlp import Receiver
from tests.handlers.test_otel_json import read_request
from tests.viewer.recording import STARTED_NS, Recorder, by_start, run_of
from tests.viewer.workload import rounds

Live = Callable[[Coroutine[Any, Any, Any]], tuple[Run, list[Record], dict[int, bytes]]]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """An OTLP endpoint that the environment does not name."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with_receiver = Receiver()
    yield with_receiver
    with_receiver.close()


@pytest.fixture
def live(receiver: Receiver) -> Live:
    """Run something with the exporting handler on; return its record, and the spans that went out, by span id."""

    def run(work: Coroutine[Any, Any, Any]) -> tuple[Run, list[Record], dict[int, bytes]]:
        recorder = Recorder()
        provider = make_provider(exporter_to(receiver.url), has_queue=False)
        manager = CallbackManager([OpenTelemetryHandler(provider), recorder], raise_handler_errors=True)
        with use_callback_manager(manager):
            asyncio.run(work)
        assert manager.flush(30)
        manager.close()
        spans = taken(receiver)
        return *recorder.recorded(), spans

    return run


def taken(receiver: Receiver) -> dict[int, bytes]:
    """Return the spans that the collector got, and have it forget them; none may have come twice."""
    spans = receiver.spans()
    receiver.requests.clear()
    return by_id(spans)


def by_id(spans: list[Any]) -> dict[int, bytes]:
    """Return the bytes of each span, its attributes in the order of their keys, by its id."""
    found: dict[int, bytes] = {}
    for span in spans:
        span_id = int.from_bytes(span.span_id, "big")
        assert span_id not in found
        plain = Span.FromString(span.SerializeToString())
        del plain.attributes[:]
        plain.attributes.extend(sorted(span.attributes, key=lambda pair: str(pair.key)))
        found[span_id] = plain.SerializeToString(deterministic=True)
    return found


def lines_of(run: Run, records: list[Record], **options: Any) -> list[bytes]:
    out = io.BytesIO()
    write_otlp(run, records, out.write, **options)
    return out.getvalue().splitlines(keepends=True)


def spans_in(lines: list[bytes]) -> list[Any]:
    return [
        span
        for line in lines
        for resource in read_request(line).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def differences(live: dict[int, bytes], again: dict[int, bytes]) -> list[tuple[str, str]]:
    """Return the spans that are not the same, as text, for the assertion to show."""

    def text(found: dict[int, bytes], span_id: int) -> str:
        return str(Span.FromString(found[span_id])) if span_id in found else "missing"

    return [
        (text(live, key), text(again, key))
        for key in sorted(live.keys() | again.keys())
        if live.get(key) != again.get(key)
    ]


async def large() -> None:
    """Batches beyond the limit of a trace: of known and of unknown size, failing, retried, nested, with points."""

    async def work(number: int) -> int:
        await asyncio.sleep(0)
        if number % 97 == 5:
            raise ValueError(f"item {number} is broken")
        if number % 100 == 50:
            await async_map(inner, range(3), desc="inner")
            get_callback_manager().emit(name="half", payload={"number": number})
        return number

    async def inner(number: int) -> None:
        with get_callback_manager().event("step", {"number": number}, name="think"):
            await asyncio.sleep(0)

    with get_callback_manager().as_trace("large"):
        await async_map(work, range(2_345), limit=8, on_error="return", desc="sized")
        await async_map(work, (number for number in range(1_234)), limit=8, on_error="return", desc="unsized")
        await run_jobs([functools.partial(work, 1)], retry=None, desc="small")


@pytest.mark.parametrize("work", [rounds, large])
def test_a_record_gives_the_spans_that_went_out_live(
    work: Callable[[], Coroutine[Any, Any, None]], live: Live, receiver: Receiver
) -> None:
    """Sent or written as lines, every span has the bytes that the live one had: ids, shards and links included."""
    run, records, spans = live(work())
    assert len(spans) >= len([record for record in records if not record.is_point])

    sent = send_otlp(run, records, endpoint=receiver.url)
    assert differences(spans, taken(receiver)) == []
    assert sent.spans == len(spans)

    lines = lines_of(run, records)
    assert differences(spans, by_id(spans_in(lines))) == []
    types = Counter(record.type for record in records)
    assert types["job"] > 20
    traces = {Span.FromString(span).trace_id for span in spans.values()}
    assert len(traces) == 3 if work is rounds else len(traces) > 8
    roots = [span for span in map(Span.FromString, spans.values()) if span.name.endswith(" shard")]
    assert len(roots) == (0 if work is rounds else len(traces) - 1)
    assert all(root.links for root in roots)


def made(*records: Record, **changes: Any) -> dict[str, Any]:
    """Return the spans of hand-made records by name, read from lines."""
    return {span.name: span for span in spans_in(lines_of(run_of(**changes), by_start(records)))}


def attributes_of(span: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


BATCH = Record(
    event_id=0xB0,
    parent_id=None,
    trace_id=0xF00D,
    type="batch",
    name="pages",
    start_ns=1_000,
    status="interrupted",
    batch_id=0xB0,
    counts=Counts(total=100, started=2, in_flight=1, failed=1),
)


def job(index: int, **changes: Any) -> Record:
    """Return job `index` of `BATCH`, whose ids begin as those of a real one do."""
    fields: dict[str, Any] = {
        "event_id": event_id_at(0x1234, index),
        "parent_id": 0xB0,
        "trace_id": 0xF00D,
        "type": "job",
        "name": f"fetch {index}",
        "start_ns": 2_000 + index,
        "end_ns": 3_000 + index,
        "status": "ok",
        "queue_ns": 1_000,
        "job_index": index,
        "batch_id": 0xB0,
    }
    return Record(**(fields | changes))


def test_what_was_interrupted_ends_when_it_was_last_seen() -> None:
    """A span that its process did not live to end is an error, ends with the record, and says ``interrupted``."""
    error = ErrorInfo("app.BadPage", "no title", (Frame("/srv/app.py", 12, "parse"),))
    spans = made(
        BATCH,
        job(0, name="fetch", end_ns=2_500, status="error", error=error),
        job(1, name="fetch", end_ns=None, status="interrupted"),
        state="interrupted",
        ended_wall_ns=None,
        last_seen_wall_ns=STARTED_NS + 7_000_000_000,
    )
    assert len(spans) == 2
    batch, last = spans["pages"], spans["fetch"]
    assert batch.end_time_unix_nano == last.end_time_unix_nano == STARTED_NS + 7_000_000_000
    assert last.start_time_unix_nano == STARTED_NS + 2_001
    assert batch.status.code == last.status.code == 2
    assert attributes_of(last)["spanloom.outcome"] == "interrupted"
    assert attributes_of(batch)["spanloom.batch.size"] == 100
    assert attributes_of(batch)["spanloom.batch.failed"] == 1
    assert int.from_bytes(last.parent_span_id, "big") == 0xB0


def test_what_is_open_in_a_running_run_is_left_out() -> None:
    """A span is exported when it has ended; the others are counted, and their children are there."""
    records = [
        Record(**(structs.asdict(BATCH) | {"status": None})),
        job(0),
        job(1, end_ns=None, status=None),
    ]
    lines: list[bytes] = []
    sent = write_otlp(run_of(state="running", ended_wall_ns=None), records, lines.append)
    assert sent == (1, 2)
    assert [span.name for span in spans_in(lines)] == ["fetch 0"]


def test_jobs_whose_batch_is_not_in_the_record_keep_what_they_say() -> None:
    """Events that were lost take no others with them: ids, parents, times and attributes are the recorded ones."""
    lost = [job(index, busy_ns=500, attempt=2) for index in range(3)]
    odd = job(7, event_id=0xABCD, name="odd")  # of no range of ids that the others are of
    spans = made(*lost, odd)
    assert list(spans) == ["fetch 0", "fetch 1", "fetch 2", "odd"]
    for record in [*lost, odd]:
        span = spans[record.name]
        assert int.from_bytes(span.span_id, "big") == record.event_id
        assert int.from_bytes(span.parent_span_id, "big") == 0xB0
        assert span.start_time_unix_nano == STARTED_NS + record.start_ns
        assert span.end_time_unix_nano == STARTED_NS + (record.end_ns or 0)
        assert attributes_of(span)["spanloom.job.index"] == record.job_index
        assert attributes_of(span)["spanloom.job.queue_s"] == pytest.approx(1e-6)
    with_batch = made(Record(**(structs.asdict(BATCH) | {"end_ns": 9_000, "status": "ok"})), *lost, odd)
    assert sorted(with_batch) == ["fetch 0", "fetch 1", "fetch 2", "odd", "pages"]
    assert int.from_bytes(with_batch["odd"].span_id, "big") == 0xABCD


def test_events_of_one_instant_end_inside_out() -> None:
    """Scopes without a length, all at the same time, are spans under one another, points inside included."""
    spans = made(
        Record(1, None, 9, "step", "outer", 500, 500, "ok"),
        Record(2, 1, 9, "step", "inner", 500, 500, "ok"),
        Record(3, 2, 9, "mark", "point", 500, 500, "ok", is_point=True),
    )
    assert list(spans) == ["inner", "outer"]
    assert [event.name for event in spans["inner"].events] == ["point"]
    assert spans["inner"].parent_span_id == spans["outer"].span_id


def test_the_environment_of_the_exporter_is_not_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent, a sampler and a resource detector are of the process that has them; a service name is a choice."""
    monkeypatch.setenv("TRACEPARENT", "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
    (line,) = lines_of(run_of(), [Record(1, None, 9, "step", "alone", 1, 2, "ok")])
    (resource,) = read_request(line).resource_spans
    (scope,) = resource.scope_spans
    (span,) = scope.spans
    assert int.from_bytes(span.trace_id, "big") == 9
    assert span.parent_span_id == b""
    assert scope.scope.name == "spanloom"
    about = attributes_of(resource.resource)
    assert about["service.name"] == "pipeline.py"
    assert about["service.instance.id"] == about["spanloom.run.id"] == run_of().run_id
    assert about["process.pid"] == 4711
    assert about["deployment.environment.name"] == "staging"


def test_a_sdk_that_is_switched_off_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would come out, and whoever asks for an export should hear why."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with pytest.raises(ExportError, match="OTEL_SDK_DISABLED"):
        lines_of(run_of(), [])


STEPS = [Record(number + 1, None, number + 1, "step", "s", number, number + 1, "ok") for number in range(10)]


def test_what_a_collector_refuses_is_counted() -> None:
    """An export that was not taken, or not all of it, is an error that says how much, and why."""
    for answer, words in (
        (Answer(400), r"took 0 of 10 spans \(http 400: 10\)"),
        (Answer(rejected=3), r"took 7 of 10 spans \(.*: 3\)"),
    ):
        with (
            HttpCollector(lambda *_, answer=answer: answer) as collector,
            pytest.raises(ExportError, match=words),
        ):
            send_otlp(run_of(), STEPS, endpoint=collector.url)


def test_a_collector_that_is_busy_is_asked_again() -> None:
    """As for live export: what is to be tried again is, until it is there."""
    answers = [Answer(503, {"Retry-After": "0"}), Answer(429), Answer()]
    with HttpCollector(lambda number, request: answers[min(number, 2)]) as collector:
        assert send_otlp(run_of(), STEPS, endpoint=collector.url) == (10, 0)
        assert sorted(collector.span_ids) == list(range(1, 11))


def test_a_slow_collector_gets_all_of_a_large_run() -> None:
    """The replay waits for it, so that nothing is dropped for want of room, whatever the queue of live export holds."""
    records = (Record(number, None, 7, "step", "s", number, number, "ok") for number in range(1, 30_001))
    with HttpCollector(lambda *_: Answer(delay_s=0.2)) as collector:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
            patch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4000")
            sent = send_otlp(run_of(), records, endpoint=collector.url)
        assert sent == (30_000, 0)
        assert sorted(collector.span_ids) == list(range(1, 30_001))


def test_a_collector_that_is_silent_is_given_up() -> None:
    """After the time that was given, with an error, and without anything left behind."""
    threads = threading.active_count()
    with listener(silent) as port:
        began = time.monotonic()
        with pytest.raises(ExportError, match=r"took 0 of 10 spans: no answer in 0.5 s"):
            send_otlp(run_of(), STEPS, endpoint=f"http://127.0.0.1:{port}", timeout_s=0.5)
        assert 0.5 <= time.monotonic() - began < 5
    deadline = time.monotonic() + 30
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads


def test_what_is_waited_for_is_said_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, soon, and with the reason: a collector that does not answer, and one that is not there."""
    monkeypatch.setattr("spanloom.handlers.otel.replay.NEWS_S", 0.1)
    told: list[str] = []
    with listener(silent) as port, pytest.raises(ExportError):
        send_otlp(run_of(), STEPS, endpoint=f"http://127.0.0.1:{port}", timeout_s=0.5, tell=told.append)
    assert told == ["no answer yet; trying for 0.5 s"]
    port = closed_port()
    reason = f"not sent (127.0.0.1:{port}: Connection refused)"
    with pytest.raises(ExportError) as caught:
        send_otlp(run_of(), STEPS, endpoint=f"http://127.0.0.1:{port}", timeout_s=0.5, tell=told.append)
    assert told[1:] == [f"{reason}; trying for 0.5 s"]
    assert str(caught.value) == f"the collector took 0 of 10 spans: no answer in 0.5 s; {reason}"


@pytest.mark.slow
def test_memory_is_that_of_what_is_open() -> None:
    """Thirty thousand jobs are written in the memory of the few that run side by side."""
    total = 30_000
    batch = Record(
        **(
            structs.asdict(BATCH)
            | {"end_ns": total * 100 + 5_000, "status": "ok", "counts": Counts(total, total)}
        )
    )

    def records() -> Iterator[Record]:
        yield batch
        for index in range(total):
            yield job(index, name="fetch", start_ns=2_000 + index * 100, end_ns=2_000 + index * 100 + 650)

    spans = 0

    def take(line: bytes) -> None:
        nonlocal spans
        spans += line.count(b'"spanId":"') - line.count(b'"links":')

    write_otlp(run_of(), islice(records(), 2_000), take)  # what is kept once is kept now
    tracemalloc.start()
    try:
        sent = write_otlp(run_of(), records(), take)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent.spans > total
    assert peak < 5 << 20  # their records alone would be 12 MB
