"""The spool: what is on disk outlives its process, is sent once, and is never more than was allowed."""

from __future__ import annotations

import logging
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanloom.handlers.otel._counts import ExportCounts
from spanloom.handlers.otel._pipeline import Pipeline, open_pipeline
from spanloom.handlers.otel._seen import SeenIds
from spanloom.handlers.otel._segment import HEADER_SIZE, Segment
from spanloom.handlers.otel._spool_options import SpoolOptions
from tests.handlers.otel_peers import (
    ENVELOPE,
    Answer,
    HttpCollector,
    closed_port,
    envelope,
    first,
    frames,
)
from tests.handlers.test_otel_pipeline import balanced, put

ROOT = Path(__file__).resolve().parents[2]
DEAD = "http://127.0.0.1:9/v1/traces"


pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def collector() -> Iterator[HttpCollector]:
    with HttpCollector() as collector:
        yield collector


def spooled(folder: Path, url: str = DEAD, **bounds: float) -> Pipeline:
    options = SpoolOptions.checked(folder, **bounds)  # type: ignore[arg-type] # numbers by name
    return open_pipeline(OTLPSpanExporter(url, timeout=5), spool=options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def leave(folder: Path, start: int, end: int, size: int = 200) -> None:
    """Leave spans in the spool, as a process without a collector does at its end."""
    pipeline = spooled(folder)
    put(pipeline, start, end, size)
    assert not pipeline.close(0.3)
    counts = pipeline.stats()  # it may have adopted, and left again, what was there before
    assert counts.pending == counts.produced == end - start + counts.replayed


HEAD = """
import os, signal, sys, time
from pathlib import Path
from tests.handlers.otel_peers import ENVELOPE, frames
from tests.handlers.test_otel_pipeline import put
from tests.handlers.test_otel_spool import spooled
"""


def run(program: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HEAD) + textwrap.dedent(program), *map(str, arguments)],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), *sys.path])),
        check=check,
        capture_output=True,
        text=True,
        timeout=60,
    )


# the way through the disk ---------------------------------------------------------------------------------------


def test_spans_go_through_the_disk_and_leave_nothing_there(tmp_path: Path, collector: HttpCollector) -> None:
    """Everything arrives once, over many segments and two envelopes; the directory is empty afterwards, and private."""
    folder = tmp_path / "deep" / "spool"
    pipeline = spooled(folder, collector.url, max_bytes=1 << 20)
    for at in range(1, 5001, 100):
        put(pipeline, at, at + 100)
        pipeline.put(envelope("another"), frames(10_000 + at, 10_002 + at))
        if at % 1000 == 1:
            assert pipeline.flush(10)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert pipeline.close()
    assert len(collector.span_ids) == len(set(collector.span_ids)) == 5100
    assert pipeline.stats() == ExportCounts(5100, 5100, 0, 0, {})
    assert names(folder) == []


def test_what_a_process_leaves_the_next_one_sends(tmp_path: Path, collector: HttpCollector) -> None:
    """Spans that could not be sent are pending at close, and are exported by the next process, before it ends."""
    leave(tmp_path, 1, 1001)
    leave(tmp_path, 1001, 1501)
    pipeline = spooled(tmp_path, collector.url)
    put(pipeline, 2001, 2101)
    assert pipeline.close()
    assert sorted(collector.span_ids) == [*range(1, 1501), *range(2001, 2101)]
    assert pipeline.stats() == ExportCounts(1600, 1600, 0, 0, {}, replayed=1500)
    assert names(tmp_path) == []


def test_a_process_that_was_killed_loses_nothing(tmp_path: Path, collector: HttpCollector) -> None:
    """Frames are safe when put returns: SIGKILL right after it, over several segments, loses none of them."""
    done = run(
        """
        pipeline = spooled(Path(sys.argv[1]), max_bytes=1 << 20)
        for frame in frames(1, 3001):
            pipeline.put(ENVELOPE, [frame])
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) > 3
    pipeline = spooled(tmp_path, collector.url)
    assert pipeline.close()
    assert sorted(collector.span_ids) == list(range(1, 3001))
    assert names(tmp_path) == []


def test_what_was_acknowledged_is_not_sent_again(tmp_path: Path) -> None:
    """A process that is killed with half of a segment acknowledged leaves only the other half to the next one."""
    with HttpCollector(lambda number, request: Answer(200 if number == 0 else 503)) as collector:
        run(
            """
            pipeline = spooled(Path(sys.argv[1]), sys.argv[2])
            put(pipeline, 1, 501)
            assert pipeline.flush(10)
            put(pipeline, 501, 1001)
            os.kill(os.getpid(), signal.SIGKILL)
            """,
            tmp_path,
            collector.url,
            check=False,
        )
        assert sorted(collector.span_ids) == list(range(1, 501))
    with HttpCollector() as after:
        assert spooled(tmp_path, after.url).close()
        assert sorted(after.span_ids) == list(range(501, 1001))


def test_a_killed_replay_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while it sends what another has left, leaves the rest, and only the rest, to a third."""
    leave(tmp_path, 1, 1001)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "300")
    with HttpCollector(lambda number, request: Answer(200 if number < 2 else 503)) as collector:
        run(
            """
            pipeline = spooled(Path(sys.argv[1]), sys.argv[2])
            while pipeline.stats().exported < 600:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
            """,
            tmp_path,
            collector.url,
            check=False,
        )
        assert sorted(collector.span_ids) == list(range(1, 601))
    with HttpCollector() as after:
        assert spooled(tmp_path, after.url).close()
        assert sorted(after.span_ids) == list(range(601, 1001))
    assert names(tmp_path) == []


def test_an_id_that_comes_twice_is_sent_once(tmp_path: Path, collector: HttpCollector) -> None:
    """Of segments that hold the same spans, as after a restored backup, each span is replayed once."""
    leave(tmp_path, 1, 501)
    (segment,) = tmp_path.glob("*.spans")
    (tmp_path / segment.name.replace("-000001", "-000002")).write_bytes(segment.read_bytes())
    pipeline = spooled(tmp_path, collector.url)
    assert not pipeline.close()
    assert sorted(collector.span_ids) == list(range(1, 501))
    assert pipeline.stats() == ExportCounts(1000, 500, 500, 0, {"duplicate in the spool": 500}, replayed=1000)
    assert names(tmp_path) == []


@pytest.mark.parametrize("status", [413, 400])
def test_a_spool_is_not_stuck_behind_what_nobody_takes(tmp_path: Path, status: int) -> None:
    """Refused spans leave the disk as well: counted, and not offered to the next process again."""
    with HttpCollector(first(1, Answer(status))) as collector:
        pipeline = spooled(tmp_path, collector.url)
        put(pipeline, 1, 101)
        pipeline.flush(10)
        assert pipeline.close() is (status == 413)
        assert balanced(pipeline.stats())
        assert len(collector.span_ids) == (100 if status == 413 else 0)
    assert names(tmp_path) == []


# several processes -----------------------------------------------------------------------------------------------


def test_a_living_process_keeps_its_spans(tmp_path: Path, collector: HttpCollector) -> None:
    """What a process that lives has written, no other one sends, however long it cannot be sent."""
    living = spooled(tmp_path, f"http://127.0.0.1:{closed_port()}/v1/traces")
    put(living, 1, 101)
    other = spooled(tmp_path, collector.url)
    put(other, 201, 301)
    assert other.close()
    assert sorted(collector.span_ids) == list(range(201, 301))
    assert living.stats().pending == 100
    assert not living.close(0.2)
    assert spooled(tmp_path, collector.url).close()
    assert sorted(collector.span_ids) == [*range(1, 101), *range(201, 301)]


def test_processes_that_share_a_spool_and_are_killed_at_random_lose_nothing(
    tmp_path: Path, collector: HttpCollector
) -> None:
    """Whatever a process had put when it was killed, sending its own spans or those of others, arrives."""
    program = """
    number = int(sys.argv[3])
    pipeline = spooled(Path(sys.argv[1]), sys.argv[2])
    for at in range(number * 100_000, number * 100_000 + 50_000):
        pipeline.put(ENVELOPE, frames(at, at + 1))
        print(at, flush=True)
        if at % 200 == 0:
            pipeline.flush(1)
    """
    chance = random.Random(20)
    said: set[int] = set()
    for lap in range(3):
        started = [start(program, tmp_path, collector.url, lap * 3 + at) for at in range(1, 4)]
        for process in started:
            assert process.stdout is not None
            said.add(int(process.stdout.readline()))
            time.sleep(chance.uniform(0, 0.3))
            process.kill()
            out, _ = process.communicate()
            said.update(int(line) for line in out.splitlines() if len(line) > 5)
    assert len(said) > 500
    assert spooled(tmp_path, collector.url).close(10)
    assert said <= set(collector.span_ids)
    assert names(tmp_path) == []


def test_processes_that_look_for_the_dead_at_once_share_them_out(tmp_path: Path) -> None:
    """Of what several dead processes have left, three living ones send everything, and nothing twice."""
    with HttpCollector(lambda *_: Answer(delay_s=0.02)) as collector:
        for at in range(8):
            leave(tmp_path, 1 + 50 * at, 51 + 50 * at)
        program = """
        time.sleep(max(0.0, float(sys.argv[3]) - time.time()))
        pipeline = spooled(Path(sys.argv[1]), sys.argv[2])
        print(pipeline.close(30), pipeline.stats().replayed)
        """
        began = time.time() + 3
        started = [start(program, tmp_path, collector.url, began) for _ in range(3)]
        said = [process.communicate(timeout=60)[0].split() for process in started]
        assert [process.returncode for process in started] == [0, 0, 0]
        assert sum(int(replayed) for _, replayed in said) == 400
        assert sorted(collector.span_ids) == list(range(1, 401))
    assert names(tmp_path) == []


def test_a_batch_that_is_sifted_and_killed_leaves_what_had_failed(
    tmp_path: Path, collector: HttpCollector
) -> None:
    """A failed job, and one that was retried, is chosen at its end; the slowest and the random ones are not yet."""
    program = """
    import asyncio
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from spanloom import CallbackManager, RetryPolicy, async_map, use_callback_manager
    from spanloom.handlers.otel import OpenTelemetryHandler, TailPolicy

    tries = []

    async def job(number):
        tries.append(number)
        if number == 3 or (number == 5 and tries.count(5) == 1):
            raise ConnectionError
        if number == 50:
            os.kill(os.getpid(), signal.SIGKILL)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(sys.argv[2])))
    handler = OpenTelemetryHandler(provider, spool=sys.argv[1], tail=TailPolicy(slowest=5, random=5))
    retry = RetryPolicy(attempts=2, base_delay=0.0001)
    with use_callback_manager(CallbackManager([handler])):
        asyncio.run(async_map(job, range(100), limit=1, on_error="skip", retry=retry))
    """
    assert run(program, tmp_path, DEAD, check=False).returncode == -signal.SIGKILL
    assert spooled(tmp_path, collector.url).close(10)
    found = [
        {entry.key: entry.value for entry in span.attributes}
        for request in collector.requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    jobs = [about for about in found if about["spanloom.type"].string_value == "job"]
    assert sorted(about["spanloom.job.index"].int_value for about in jobs) == [3, 5]


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HEAD) + textwrap.dedent(program), *map(str, arguments)],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), *sys.path])),
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_forked_child_has_a_run_of_its_own(tmp_path: Path, collector: HttpCollector) -> None:
    """Parent and child write and send each their own; what a child leaves, the parent sends."""
    pipeline = spooled(tmp_path, collector.url)
    put(pipeline, 1, 101)
    child = os.fork()
    if child == 0:
        put(pipeline, 201, 301)
        os._exit(0 if pipeline.stats().produced == 100 else 1)
    assert os.waitpid(child, 0)[1] == 0
    put(pipeline, 101, 201)
    assert pipeline.close()
    assert sorted(collector.span_ids) == list(range(1, 301))
    assert names(tmp_path) == []


def test_a_child_that_outlives_its_parent_does_not_keep_its_spans(
    tmp_path: Path, collector: HttpCollector
) -> None:
    """A forked child does not hold its parent's lock: the parent's spans are sent while the child lives."""
    program = """
    pipeline = spooled(Path(sys.argv[1]))
    put(pipeline, 1, 101)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    parent = start(program, tmp_path)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.wait()
    parent.stdout.close()
    try:
        assert spooled(tmp_path, collector.url).close()
        assert sorted(collector.span_ids) == list(range(1, 101))
    finally:
        os.kill(child, signal.SIGKILL)


# damage ------------------------------------------------------------------------------------------------------------


def replay(folder: Path, collector: HttpCollector) -> ExportCounts:
    pipeline = spooled(folder, collector.url)
    pipeline.close()
    counts = pipeline.stats()
    assert balanced(counts)
    assert counts.pending == 0
    assert len(collector.span_ids) == len(set(collector.span_ids)) == counts.exported
    return counts


def test_a_torn_tail_costs_what_was_being_written(tmp_path: Path, collector: HttpCollector) -> None:
    """Of a segment that ends in the middle of a record, every whole record is sent, and the torn one is counted."""
    leave(tmp_path, 1, 101)
    (segment,) = tmp_path.glob("*.spans")
    os.truncate(segment, segment.stat().st_size - 10)
    counts = replay(tmp_path, collector)
    assert counts == ExportCounts(100, 99, 1, 0, {"damaged on disk": 1}, replayed=100)


def test_a_flipped_bit_costs_one_span(tmp_path: Path, collector: HttpCollector) -> None:
    """A record whose checksum is wrong is left out and counted, and the ones behind it are sent."""
    leave(tmp_path, 1, 101)
    (segment,) = tmp_path.glob("*.spans")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1  # in the middle of a name: the lengths are whole
    segment.write_bytes(data)
    counts = replay(tmp_path, collector)
    assert counts == ExportCounts(100, 99, 1, 0, {"damaged on disk": 1}, replayed=100)


def test_any_damage_is_survived_and_counted(tmp_path: Path, collector: HttpCollector) -> None:
    """Segments with random bytes in random places never stop a replay, never yield a span that was not written."""
    chance = random.Random(8)
    leave(tmp_path, 1, 101)
    (segment,) = tmp_path.glob("*.spans")
    whole = segment.read_bytes()
    for lap in range(60):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 5, 200])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = tmp_path / f"{lap:024x}-000001.spans"
        path.write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
    segment.unlink()
    pipeline = spooled(tmp_path, collector.url)
    pipeline.close(20)
    counts = pipeline.stats()
    assert balanced(counts)
    assert counts.pending == 0
    assert set(collector.span_ids) <= set(range(1, 101))
    assert counts.exported == len(collector.span_ids) == len(set(collector.span_ids))
    assert counts.reasons["damaged on disk"] >= 30
    assert counts.reasons["duplicate in the spool"] >= 1000  # so it did go on


def test_what_is_not_ours_is_left_alone(
    tmp_path: Path, collector: HttpCollector, caplog: pytest.LogCaptureFixture
) -> None:
    """Foreign files, links, FIFOs and segments of another version stay where they are, with one warning each."""
    leave(tmp_path, 1, 101)
    secret = tmp_path.parent / "secret"
    secret.write_text("not a span")
    (tmp_path / "README").write_text("hello")
    (tmp_path / f"{1:024x}-000001.spans").symlink_to(secret)
    os.mkfifo(tmp_path / f"{2:024x}-000001.spans")
    (tmp_path / f"{3:024x}-000001.spans").write_bytes(b"SPLOOM\0\x63" + bytes(1000))
    (tmp_path / f"{4:024x}-000001.spans").mkdir()
    (tmp_path / f"{5:024x}.lock").symlink_to(secret)
    (tmp_path / f"{5:024x}-000001.spans").write_bytes(b"")
    kept = [path.name for path in tmp_path.iterdir() if path.name[0] in "0R"]
    pipeline = spooled(tmp_path, collector.url)
    put(pipeline, 101, 201)
    assert pipeline.flush(5)
    assert pipeline.close()
    assert sorted(collector.span_ids) == list(range(1, 201))
    assert set(kept) <= set(names(tmp_path))
    assert secret.read_text() == "not a span"
    alone = [record.args[0] for record in caplog.records if "left alone" in record.getMessage()]  # type: ignore[index] # args of our own lines
    assert sorted(alone) == sorted({"README", *(f"{number:024x}" for number in (1, 2, 3, 4, 5))})


def test_an_empty_run_is_tidied_up(tmp_path: Path, collector: HttpCollector) -> None:
    """Files of a process that died before it wrote a span are removed."""
    (tmp_path / f"{1:024x}.lock").touch()
    (tmp_path / f"{2:024x}-000001.spans").write_bytes(b"")
    (tmp_path / f"{3:024x}-000001.spans").write_bytes(bytes(5000))
    assert spooled(tmp_path, collector.url).close()
    assert names(tmp_path) == []


# bounds ------------------------------------------------------------------------------------------------------------


def test_the_spool_is_bounded_and_the_oldest_give_way(tmp_path: Path) -> None:
    """Nobody takes anything: the directory stays below its bound, what gave way is counted, the newest survive."""
    pipeline = spooled(tmp_path, max_bytes=2 << 20)
    for at in range(1, 40_001, 50):
        put(pipeline, at, at + 50)
        if at % 2000 == 1:
            assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 << 20
            assert balanced(pipeline.stats())
    counts = pipeline.stats()
    assert counts.reasons == {"spool full": counts.dropped}
    assert 4000 < counts.pending < 9000
    assert not pipeline.close(0.2)
    with HttpCollector() as collector:
        assert spooled(tmp_path, collector.url).close()
        assert len(collector.span_ids) == counts.pending
        assert 40_000 in collector.span_ids


def test_what_a_request_is_under_way_with_does_not_give_way_twice(tmp_path: Path) -> None:
    """Spans that are with a slow collector while their segment gives way are exported, and not dropped as well."""
    with HttpCollector(first(1, Answer(delay_s=1.0))) as collector:
        pipeline = spooled(tmp_path, collector.url, max_bytes=1 << 20)
        put(pipeline, 1, 3001)
        time.sleep(0.2)
        put(pipeline, 3001, 13_001)
        pipeline.flush(10)
        counts = pipeline.stats()
        assert counts.exported + counts.dropped == 13_000
        assert counts.reasons == {"spool full": counts.dropped}
        assert len(collector.span_ids) == len(set(collector.span_ids)) == counts.exported
        assert pipeline.close() is False
    assert names(tmp_path) == []


def test_what_is_too_old_is_dropped(tmp_path: Path, collector: HttpCollector) -> None:
    """Spans that have lain longer than they may are not sent, and counted."""
    leave(tmp_path, 1, 101)
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() - 100, time.time() - 100))
    leave(tmp_path, 101, 201)
    pipeline = spooled(tmp_path, collector.url, max_age_s=50)
    pipeline.close()
    assert sorted(collector.span_ids) == list(range(101, 201))
    assert pipeline.stats() == ExportCounts(200, 100, 100, 0, {"too old": 100}, replayed=200)
    assert names(tmp_path) == []


def test_one_span_may_be_larger_than_a_segment(tmp_path: Path, collector: HttpCollector) -> None:
    """A span of 2 MB goes through a spool whose segments are smaller."""
    pipeline = spooled(tmp_path, collector.url, max_bytes=4 << 20)
    pipeline.put(ENVELOPE, frames(1, 2, size=2_000_000))
    put(pipeline, 2, 12)
    assert pipeline.close()
    assert sorted(collector.span_ids) == list(range(1, 12))


def test_what_belongs_to_others_costs_no_spans(tmp_path: Path) -> None:
    """A strange file does not count; where other processes leave no room, nothing of one's own is dropped for it."""
    (tmp_path / "core").write_bytes(bytes(3 << 20))
    pipeline = spooled(tmp_path, max_bytes=2 << 20)
    put(pipeline, 1, 101)
    assert pipeline.stats().unspooled == 0
    other = spooled(tmp_path, max_bytes=64 << 20)
    put(other, 1, 2)  # makes a segment of 4 MiB
    put(pipeline, 101, 5001)
    counts = pipeline.stats()
    assert counts.dropped == 0
    assert counts.unspooled > 0
    assert not other.close(0.2)
    assert not pipeline.close(0.2)


# when the disk fails -------------------------------------------------------------------------------------------------


def test_a_spool_that_cannot_be_made_is_replaced_by_memory(
    tmp_path: Path, collector: HttpCollector, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no directory can be made, spans go through memory; that is said once, and counted."""
    (tmp_path / "file").touch()
    pipeline = spooled(tmp_path / "file" / "spool", collector.url)
    put(pipeline, 1, 1001)
    assert pipeline.close()
    assert sorted(collector.span_ids) == list(range(1, 1001))
    assert pipeline.stats() == ExportCounts(1000, 1000, 0, 0, {}, unspooled=1000)
    assert len([record for record in caplog.records if "kept in memory" in record.getMessage()]) == 1


def test_a_full_disk_is_survived(tmp_path: Path, collector: HttpCollector) -> None:
    """When a segment cannot be had any more, spans are kept in memory; with room again, on disk; none is lost."""
    program = """
    import resource, threading
    from spanloom.handlers.otel import _spool
    _spool.RETRY_DISK_S = 0.05
    pipeline = spooled(Path(sys.argv[1]), sys.argv[2])
    put(pipeline, 1, 101)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))  # no segment fits
    put(pipeline, 101, 30_001)
    kept = pipeline.stats().unspooled
    assert 0 < kept < 30_000, kept
    assert not pipeline.flush(0.2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    time.sleep(0.1)
    put(pipeline, 30_001, 30_101)
    assert pipeline.stats().unspooled == kept
    os.kill(os.getpid(), signal.SIGKILL)
    """
    done = run(program, tmp_path, f"http://127.0.0.1:{closed_port()}/v1/traces", check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stderr.count("kept in memory") == 1
    pipeline = spooled(tmp_path, collector.url)
    assert pipeline.close(60)
    assert sorted(collector.span_ids) == list(range(1, 30_101))


def test_a_directory_that_is_removed_is_made_again(tmp_path: Path) -> None:
    """Spans that lay there are still sent by this process; those that come later are safe again."""
    import shutil

    folder = tmp_path / "spool"
    with HttpCollector(first(1, Answer(503, {"Retry-After": "0.2"}))) as collector:
        pipeline = spooled(folder, collector.url)
        put(pipeline, 1, 101)
        pipeline.flush(0.05)
        shutil.rmtree(folder)
        assert pipeline.flush(5)
        put(pipeline, 101, 111)
        assert pipeline.flush(5)
        put(pipeline, 111, 201)
        assert pipeline.close()
        assert sorted(collector.span_ids) == list(range(1, 201))
    assert names(folder) == []


def test_what_is_lost_with_a_removed_directory_is_counted(tmp_path: Path) -> None:
    """Spans that are neither sent nor on disk at the end are dropped, not pending."""
    import shutil

    pipeline = spooled(tmp_path / "spool", f"http://127.0.0.1:{closed_port()}/v1/traces")
    put(pipeline, 1, 5001)
    time.sleep(0.05)
    shutil.rmtree(tmp_path / "spool")
    assert not pipeline.close(0.2)
    counts = pipeline.stats()
    assert balanced(counts)
    assert counts.pending == 0
    assert counts.dropped == 5000


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        ({"max_bytes": 1000}, "spool_max_bytes must be at least"),
        ({"max_age_s": 0}, "spool_max_age_s must be more than 0"),
        ({"max_age_s": float("nan")}, "spool_max_age_s must be more than 0"),
        ({"max_age_s": "1d"}, r"spool_max_age_s must be a number \(got '1d', str\)"),
        (
            {"max_bytes": 1e9},
            r"spool_max_bytes must be an int of at least 1048576 \(got 1000000000.0, float\)",
        ),
    ],
)
def test_bounds_that_cannot_be_are_refused(tmp_path: Path, bounds: dict[str, float], told: str) -> None:
    """The message says what was given and what is allowed."""
    with pytest.raises((ValueError, TypeError), match=told):
        spooled(tmp_path, **bounds)


def test_a_spool_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A file cannot be a spool."""
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="must be a directory"):
        SpoolOptions.checked(tmp_path / "file")


# memory, concurrency ------------------------------------------------------------------------------------------------


def test_memory_stays_flat_while_the_spool_grows(tmp_path: Path) -> None:
    """200,000 spans on their way to a collector that refuses everything cost less than 64 MB of the process."""
    program = """
    def resident():
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) >> 10
    pipeline = spooled(Path(sys.argv[1]))
    put(pipeline, 1, 1001)
    ready = frames(1, 1001)
    before = resident()
    for _ in range(200):
        for frame in ready:
            pipeline.put(ENVELOPE, [frame])
    assert resident() - before < 64, (before, resident())
    assert pipeline.stats().pending == 201_000
    """
    run(program, tmp_path)


def test_the_account_balances_at_every_instant(tmp_path: Path) -> None:
    """While three threads put into a small spool and a collector errs, each look at the counts finds every span."""
    kinds = [Answer(503), Answer(), Answer(429, {"Retry-After": "0"}), Answer(rejected=1), Answer()]

    def decide(number: int, request: ExportTraceServiceRequest) -> Answer:
        return Answer(413) if number == 2 else kinds[number % len(kinds)]

    with HttpCollector(decide) as collector, pytest.MonkeyPatch.context() as patch:
        patch.setattr("spanloom.handlers.otel._sender.BACKOFF_S", 0.001)
        pipeline = spooled(tmp_path, collector.url, max_bytes=1 << 20)
        threads = [
            threading.Thread(target=put, args=(pipeline, 1 + 5000 * at, 5001 + 5000 * at, 200, 3))
            for at in range(3)
        ]
        for thread in threads:
            thread.start()
        looks = []
        while any(thread.is_alive() for thread in threads) or pipeline.stats().pending:
            looks.append(pipeline.stats())
            pipeline.flush(0.01)
        assert [look for look in looks if not balanced(look)] == []
        counts = pipeline.stats()
        assert counts.produced == 15_000
        assert counts.exported == len(collector.span_ids) == len(set(collector.span_ids))
        pipeline.close()
        assert pipeline.stats() == counts
    assert names(tmp_path) == []


@pytest.mark.parametrize("trouble", ["spool full", "kept in memory", "memory full", "cannot be noted"])
def test_a_handler_of_the_log_may_make_spans(
    tmp_path: Path, collector: HttpCollector, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """What there is to say about a spool is said when its lock is free: a logging handler may put spans into it."""
    told: list[str] = []

    class Putting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            put(pipeline, 1_000_000, 1_000_001)
            told.append(record.getMessage())

    if trouble == "memory full":
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "50")
    if trouble in {"kept in memory", "memory full"}:
        (tmp_path / "spool").touch()
    if trouble == "cannot be noted":
        monkeypatch.setattr(Segment, "settle", _fail)
    url = collector.url if trouble == "cannot be noted" else DEAD
    pipeline = open_pipeline(
        OTLPSpanExporter(url, timeout=5), spool=SpoolOptions(tmp_path / "spool", 1 << 20, None)
    )
    logger, handler = logging.getLogger("spanloom.handlers.otel"), Putting()
    logger.addHandler(handler)
    try:
        thread = threading.Thread(target=put, args=(pipeline, 1, 10_001), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "a deadlock"
        deadline = time.monotonic() + 30
        while not any(trouble in line for line in told):
            pipeline.flush(0.05)
            assert time.monotonic() < deadline
    finally:
        logger.removeHandler(handler)
    pipeline.close(1)


def _fail(*_: object) -> None:
    raise OSError("no more")


# its parts ------------------------------------------------------------------------------------------------------------


def test_seen_ids_are_exact() -> None:
    """An id is new once; ids that look alike, at any alignment, are not taken for one another."""
    seen, known = SeenIds(), set()
    chance = random.Random(3)
    for _ in range(20_000):
        # Few different bytes: the parts of two ids often make up a third.
        span_id = bytes(chance.choice(b"\x00\x01") for _ in range(6)) + bytes(
            chance.choice(b"\0\1") for _ in range(2)
        )
        assert seen.add(span_id) is (span_id not in known)
        known.add(span_id)
    assert len(seen) == len(known)


def test_a_segment_is_read_in_the_envelopes_it_was_written_in(tmp_path: Path) -> None:
    """Frames come back in order, never two envelopes in one parcel, within the bounds that were asked for."""
    segment = Segment.create(tmp_path / "one", 1 << 16)
    other = envelope("other")
    assert segment.append(ENVELOPE, frames(1, 11))
    assert segment.append(other, frames(11, 13))
    assert segment.append(ENVELOPE, frames(13, 14))
    taken = []
    while (parcel := segment.take(4, 1 << 20)) is not None:
        taken.append((parcel.envelope == other, len(parcel.frames)))
        segment.settle(parcel.ends[-1], len(parcel.frames))
    assert taken == [(False, 4), (False, 4), (False, 2), (True, 2), (False, 1)]
    segment.seal()
    assert segment.is_over
    segment.close()
    again = Segment.open(tmp_path / "one")
    assert again is not None
    assert (again.unread, again.damaged) == (0, 0)
    again.remove()
    assert HEADER_SIZE == 64
