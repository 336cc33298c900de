"""The end of a process, by every road: what its events had told it had ended is with the collector, or on disk."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanloom.handlers.otel import OpenTelemetryHandler
from tests.environments import without_ours
from tests.handlers.otel_peers import Answer, HttpCollector, closed_port, listener, silent
from tests.waited import waited

ROOT = Path(__file__).resolve().parents[2]

APP = """
import asyncio, os, signal, sys, time
from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.handlers.otel import OpenTelemetryHandler

class Teller:  # after the other handler: what it tells of, that one has had
    def on_event_end(self, event):
        if event.job_index is not None:
            os.write(1, b"%d\\n" % event.event_id)

async def job(number):
    await asyncio.sleep(0.001)

def manage(**options):
    return use_callback_manager(CallbackManager([OpenTelemetryHandler(**options), Teller()]))
"""


@pytest.fixture
def collector() -> Iterator[HttpCollector]:
    with HttpCollector() as collector:
        yield collector


@contextlib.contextmanager
def app(program: str, url: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    clean = without_ours()
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", APP + textwrap.dedent(program), *map(str, arguments)],
        env=clean
        | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "NO_PROXY": "127.0.0.1",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str], how: signal.Signals, after_s: float) -> tuple[set[int], str]:
    """Let it begin, end it, and return what it told and what it said on stderr."""
    assert process.stdout is not None
    first = os.read(
        process.stdout.fileno(), 1
    ).decode()  # readline() would keep more, which communicate() does not see
    time.sleep(after_s)
    process.send_signal(how)
    out, err = process.communicate(timeout=20)
    # The last line may be cut off.
    return {int(line) for line in (first + out).split("\n")[:-1] if line}, err


FOREVER = """
with manage(flush_on_sigterm=True):
    asyncio.run(async_map(job, range(1_000_000), limit=50))
"""


@pytest.mark.parametrize("lap", range(5))
def test_sigterm_loses_nothing_that_has_ended(collector: HttpCollector, lap: int) -> None:
    """A process that is told to end, at any time, sends what has ended, and dies of the signal."""
    with app(FOREVER, collector.url) as process:
        told, err = stop(process, signal.SIGTERM, random.Random(lap).uniform(0, 0.5))
    assert process.returncode == -signal.SIGTERM
    assert err == ""
    assert told
    assert told - set(collector.span_ids) == set()
    assert len(collector.span_ids) == len(set(collector.span_ids))


@pytest.mark.parametrize("lap", range(5))
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_with_a_spool_no_signal_loses_anything(
    collector: HttpCollector, tmp_path: Path, how: signal.Signals, lap: int
) -> None:
    """Killed at any time, what a process had told of is with the collector after the next one, and only once."""
    program = """
    with manage(spool=sys.argv[1]):
        asyncio.run(async_map(job, range(1_000_000), limit=50))
    """
    with app(program, collector.url, tmp_path) as process:
        told, err = stop(process, how, random.Random(lap).uniform(0, 0.5))
    assert process.returncode == -how
    assert err == ""
    with app(
        "with manage(spool=sys.argv[1]): asyncio.run(async_map(job, [1]))", collector.url, tmp_path
    ) as after:
        after.wait(20)
        assert after.returncode == 0
    assert told
    assert told - set(collector.span_ids) == set()
    assert list(tmp_path.iterdir()) == []


def test_sigkill_beside_a_dead_collector_keeps_every_span(collector: HttpCollector, tmp_path: Path) -> None:
    """With nobody to send to, every span that has ended waits on disk, exactly once, for the next process."""
    program = """
    with manage(spool=sys.argv[1]):
        asyncio.run(async_map(job, range(1_000_000), limit=50))
    """
    with app(program, f"http://127.0.0.1:{closed_port()}/v1/traces", tmp_path) as process:
        told, _ = stop(process, signal.SIGKILL, 0.5)
    assert collector.span_ids == []
    with app(
        "with manage(spool=sys.argv[1]): asyncio.run(async_map(job, []))", collector.url, tmp_path
    ) as after:
        after.wait(20)
        assert after.returncode == 0
    assert len(told) > 100
    assert told - set(collector.span_ids) == set()
    assert len(collector.span_ids) == len(set(collector.span_ids))


def test_an_earlier_handler_is_called_after_the_flush(collector: HttpCollector) -> None:
    """Where the program handles SIGTERM itself, it still does; what has ended is sent before."""
    program = """
    def leave(number, frame):
        os.write(2, b"mine")
        os._exit(7)
    signal.signal(signal.SIGTERM, leave)
    """ + textwrap.indent(FOREVER, "    ")
    with app(program, collector.url) as process:
        told, err = stop(process, signal.SIGTERM, 0.2)
    assert process.returncode == 7
    assert err == "mine"
    assert told - set(collector.span_ids) == set()


def test_a_handler_of_the_loop_is_called(collector: HttpCollector) -> None:
    """`loop.add_signal_handler`, before or after ours, gets the signal, and the program ends as it decides."""
    for order in ("before", "after"):
        program = """
        async def main():
            loop, stop = asyncio.get_running_loop(), asyncio.Event()
            if sys.argv[1] == "before":
                loop.add_signal_handler(signal.SIGTERM, stop.set)
            with manage(flush_on_sigterm=True):
                if sys.argv[1] == "after":
                    loop.add_signal_handler(signal.SIGTERM, stop.set)
                work = asyncio.ensure_future(async_map(job, range(1_000_000), limit=50))
                await stop.wait()
                work.cancel()
                try:
                    await work
                except asyncio.CancelledError:
                    sys.exit(3)
        asyncio.run(main())
        """
        with app(program, collector.url, order) as process:
            told, err = stop(process, signal.SIGTERM, 0.2)
        assert process.returncode == 3, err
        assert told - set(collector.span_ids) == set()


@pytest.mark.parametrize("kind", ["asyncio", "uvloop", "signal"])
def test_a_handler_is_called_once_however_long_the_flush_takes(kind: str) -> None:
    """Beside a collector that never answers, one SIGTERM is one call of the program's own handler, on any loop."""
    program = """
    calls = []
    def call(*_):
        calls.append(time.monotonic())
    async def main():
        if sys.argv[1] == "signal":
            signal.signal(signal.SIGTERM, call)
        else:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, call)
        with manage(flush_on_sigterm=True):
            await async_map(job, range(10), limit=10)
            os.kill(os.getpid(), signal.SIGTERM)
            until = time.monotonic() + 3
            while time.monotonic() < until:
                await asyncio.sleep(0.01)
        os.write(2, b"%d" % len(calls))
        os._exit(0)
    if sys.argv[1] == "uvloop":
        import uvloop
        uvloop.run(main())
    else:
        asyncio.run(main())
    """
    with listener(silent) as port, app(program, f"http://127.0.0.1:{port}/v1/traces", kind) as process:
        _, err = process.communicate(timeout=20)
    assert err.endswith("1"), err


def test_a_program_that_ignores_sigterm_goes_on(collector: HttpCollector) -> None:
    """SIG_IGN stays SIG_IGN: the spans are sent, and nothing ends."""
    program = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with manage(flush_on_sigterm=True):
        asyncio.run(async_map(job, range(200), limit=1))
    """
    with app(program, collector.url) as process:
        told, err = stop(process, signal.SIGTERM, 0.05)
    assert process.returncode == 0, err
    assert len(told) == 200
    assert told <= set(collector.span_ids)


def test_sigterm_is_not_put_off_for_longer_than_its_deadline() -> None:
    """Beside a collector that never answers, the process dies of the signal in little more than two seconds."""
    with listener(silent) as port, app(FOREVER, f"http://127.0.0.1:{port}/v1/traces") as process:
        assert process.stdout is not None
        process.stdout.read(1)  # it has begun
        with waited() as seconds:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        assert seconds() < 6
        assert process.returncode == -signal.SIGTERM


def test_a_flush_that_waits_for_the_interrupted_code_is_not_stuck(collector: HttpCollector) -> None:
    """A signal that comes while the main thread holds the lock that the flush needs lets it go on until it lets go."""
    program = """
    handler = OpenTelemetryHandler(flush_on_sigterm=True)
    with use_callback_manager(CallbackManager([handler, Teller()])):
        asyncio.run(async_map(job, range(100)))
        with handler._connection.outlets.pipes[0]._ledger._lock:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(300):
                pass
        time.sleep(30)
    """
    with app(program, collector.url) as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM, err
    assert {int(line) for line in out.split()} <= set(collector.span_ids)


def test_the_old_handler_of_the_signal_comes_back(
    collector: HttpCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed, the handler leaves SIGTERM as it found it; without being asked for, it never touches it."""
    from spanloom.callbacks import CallbackManager, use_callback_manager

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url)
    before = signal.getsignal(signal.SIGTERM)
    OpenTelemetryHandler()
    assert signal.getsignal(signal.SIGTERM) is before
    manager = CallbackManager([OpenTelemetryHandler(flush_on_sigterm=True)])
    assert signal.getsignal(signal.SIGTERM) is not before
    with use_callback_manager(manager), manager.event("step"):
        pass
    assert manager.close()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_handler_that_is_added_again_begins_anew(
    collector: HttpCollector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a close, the same handler spools to the same directory and takes the signal again."""
    from spanloom.callbacks import CallbackManager, use_callback_manager

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url)
    before = signal.getsignal(signal.SIGTERM)
    handler = OpenTelemetryHandler(spool=tmp_path, flush_on_sigterm=True)
    manager = CallbackManager([handler])
    for times in (1, 2):
        with use_callback_manager(manager), manager.event("step"):
            assert len(list(tmp_path.glob("*"))) == 0
        assert len(list(tmp_path.glob("*.spans"))) == 1
        assert signal.getsignal(signal.SIGTERM) is not before
        manager.remove_handler(handler)
        assert signal.getsignal(signal.SIGTERM) is before
        assert len(collector.span_ids) == times
        assert handler.stats().exported == 1
        manager.add_handler(handler)
    assert manager.close()


def test_a_signal_can_be_taken_in_the_main_thread_only() -> None:
    """Elsewhere the message says where."""
    told: list[str] = []

    def make() -> None:
        try:
            OpenTelemetryHandler(flush_on_sigterm=True)
        except ValueError as error:
            told.append(str(error))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert len(told) == 1
    assert "main thread" in told[0]


@pytest.mark.parametrize("peer", ["refused", "silent", "slow"])
def test_the_end_of_a_program_waits_no_longer_than_its_deadline(peer: str, tmp_path: Path) -> None:
    """A program that ends in the ordinary way beside a broken collector says once what was lost, in time."""
    program = """
    with manage():
        asyncio.run(async_map(job, range(100)))
    print(time.monotonic())
    """
    with listener(silent) as port, HttpCollector(lambda number, request: Answer(delay_s=30)) as slow:
        url = {
            "refused": f"http://127.0.0.1:{closed_port()}/v1/traces",
            "silent": f"http://127.0.0.1:{port}/v1/traces",
            "slow": slow.url,
        }[peer]
        with app(program, url) as process:
            out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert time.monotonic() - float(out.split()[-1]) < 8
    assert err.count("101 of 101 spans were lost (unsent at exit: 101)") == 1
