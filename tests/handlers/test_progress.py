"""Progress: what a reader sees in a terminal, in a log, and after every way in which a batch can end."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest

from spanloom.callbacks import CallbackManager
from spanloom.callbacks.batch import BatchScope
from spanloom.events.event import JobEvent
from spanloom.handlers._progress_board import board, current
from spanloom.handlers.progress import ProgressHandler


class Jobs:
    """A runner's view of its jobs, played by hand."""

    def __init__(self) -> None:
        self.started = 0
        self.running = 0

    def __len__(self) -> int:
        return self.running

    def open_jobs(self) -> list[JobEvent]:
        return []

    def run(self, count: int, *, leave_running: int = 0) -> None:
        self.started += count
        self.running += leave_running


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def open_batch(
    manager: CallbackManager, jobs: Jobs, name: str = "fetch", total: int | None = 10
) -> BatchScope:
    return BatchScope.open(manager, name, jobs, total=total, payload={}, job_name="job", ready_at_once=True)


def manager_of(handler: ProgressHandler) -> CallbackManager:
    return CallbackManager([handler], raise_handler_errors=True)


def wait_until(condition: object, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def progress_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "spanloom-progress"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    left, around = list(board._entries), current.get()
    for entry in left:
        board.remove(entry)
    current.set(None)
    assert not left
    assert around is None
    wait_until(lambda: not progress_threads())


def test_a_line_closes_a_batch_with_its_exact_numbers() -> None:
    """Without a terminal, one line at the end says all that counts."""
    stream, jobs = io.StringIO(), Jobs()
    scope = open_batch(manager_of(ProgressHandler(stream)), jobs, total=2000)
    jobs.run(2000)
    scope.counts.failed = 10
    scope.close(None)
    assert re.fullmatch(r"fetch: 2000/2000 ok=1990 failed=10 in [\d.,]+ (us|ms|s)\n", stream.getvalue())


def test_lines_come_now_and_then_while_a_batch_runs() -> None:
    """A long batch reports every `line_interval` seconds, not at every look of the thread."""
    stream, jobs = io.StringIO(), Jobs()
    scope = open_batch(manager_of(ProgressHandler(stream, line_interval=0.25)), jobs)
    jobs.run(4, leave_running=2)
    scope.counts.backing_off = 1
    wait_until(lambda: stream.getvalue().count("\n") == 2)
    assert 0.45 < scope.event.age_ns / 1e9 < 2
    for line in stream.getvalue().splitlines():
        assert re.fullmatch(r"fetch: 2/10 ok=2 failed=0 retrying=1 waiting=6 after .* m?s", line)
    jobs.running = 0
    scope.close(None)


def test_quick_inner_batches_do_not_flood_a_log() -> None:
    """A batch inside another's job has a line only if it lasted longer than the interval between lines."""
    stream = io.StringIO()
    manager = manager_of(ProgressHandler(stream))
    outer = open_batch(manager, Jobs(), "outer", total=0)
    for _ in range(100):
        open_batch(manager, Jobs(), "inner", total=0).close(None)
    outer.close(None)
    assert stream.getvalue().startswith("outer: 0/0")
    assert "inner" not in stream.getvalue()


def open_call(manager: CallbackManager, jobs: Jobs) -> BatchScope:
    """Open what a call given to a pool is: a batch whose number of jobs is known when it is over."""
    payload = {"runner": "ThreadPoolExecutor"}
    return BatchScope.open(
        manager, "parse", jobs, total=None, payload=payload, job_name="parse", ready_at_once=True
    )


@pytest.mark.parametrize("calls", [1, 2])
def test_single_calls_of_a_pool_do_not_flood_a_log(calls: int) -> None:
    """Each is a batch of one job; several that overlap are a batch like others."""
    stream, jobs = io.StringIO(), Jobs()
    scope = open_call(manager_of(ProgressHandler(stream)), jobs)
    jobs.run(calls)
    scope.close(None)
    assert stream.getvalue().startswith("parse: 2/2") is (calls == 2)
    assert bool(stream.getvalue()) is (calls == 2)


def test_a_single_call_of_a_pool_leaves_no_bar() -> None:
    """One that is seen running has a bar for as long as it runs."""
    stream, jobs = Terminal(), Jobs()
    scope = open_call(manager_of(ProgressHandler(stream)), jobs)
    jobs.run(1, leave_running=1)
    wait_until(lambda: "parse:" in stream.getvalue())
    jobs.running = 0
    scope.close(None)
    assert not stream.getvalue().endswith("\n")


def test_the_number_of_a_generator_s_jobs_is_known_at_the_end() -> None:
    """Without a total the line counts, and ends at n/n all the same."""
    stream, jobs = io.StringIO(), Jobs()
    scope = open_batch(manager_of(ProgressHandler(stream, line_interval=0.1)), jobs, total=None)
    jobs.run(3)
    wait_until(lambda: "fetch: 3 ok=3" in stream.getvalue())
    scope.close(None)
    assert stream.getvalue().splitlines()[-1].startswith("fetch: 3/3 ok=3 failed=0 in ")


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError(), KeyboardInterrupt()])
def test_a_failed_or_cancelled_batch_is_closed_where_it_stands(error: BaseException) -> None:
    """The bar goes on every way out and shows what was done until then."""
    stream, jobs = Terminal(), Jobs()
    scope = open_batch(manager_of(ProgressHandler(stream)), jobs)
    jobs.run(4)
    scope.counts.cancelled = 2
    scope.counts.failed = 1
    scope.close(error)
    assert re.search(r"fetch: .* 4/10 .*ok=1 failed=1 cancelled=2 waiting=6\] *\n$", stream.getvalue())


def test_a_bar_ends_at_n_of_n() -> None:
    """The last state that is drawn has the exact numbers, and the bar stays on its line."""
    stream, jobs = Terminal(), Jobs()
    scope = open_batch(manager_of(ProgressHandler(stream)), jobs)
    jobs.run(5)
    wait_until(lambda: "5/10" in stream.getvalue())
    jobs.run(5)
    scope.close(None)
    assert re.search(r"fetch: 100%\|.*\| 10/10 \[.*, ok=10 failed=0\] *\n$", stream.getvalue())


def test_the_rate_counts_from_the_start_of_the_batch() -> None:
    """A bar that appears late does not think that its jobs took no time."""
    stream, jobs = Terminal(), Jobs()
    scope = open_batch(manager_of(ProgressHandler(stream)), jobs)
    jobs.run(10)
    wait_until(lambda: "10/10" in stream.getvalue())
    scope.close(None)
    rate = re.search(r" ([\d.]+)job/s, ok=10", stream.getvalue())
    assert rate is not None
    assert float(rate[1]) <= 100  # ten jobs in the 0.1 s until the first look


def test_an_inner_batch_has_its_bar_below_and_leaves_no_trace() -> None:
    """Nested batches nest; only outermost ones stay in the terminal."""
    stream, inner_jobs = Terminal(), Jobs()
    manager = manager_of(ProgressHandler(stream))
    outer = open_batch(manager, Jobs(), "outer")
    inner = open_batch(manager, inner_jobs, "inner")
    wait_until(lambda: "\n\rinner:" in stream.getvalue())
    inner_jobs.run(10)
    inner.close(None)
    assert re.search(r"10/10 \[.*, ok=10 failed=0\] *\x1b\[A\n\r +\x1b\[A$", stream.getvalue())
    outer.close(None)
    assert stream.getvalue().count("\n\router") == 0


def test_an_inner_batch_is_below_its_outer_one_even_if_a_line_above_is_free() -> None:
    """The first free line is not always the right one."""
    stream = Terminal()
    manager = manager_of(ProgressHandler(stream))

    async def other(until: asyncio.Event) -> None:
        scope = open_batch(manager, Jobs(), "other")
        await until.wait()
        scope.close(None)

    async def outer_and_inner(until: asyncio.Event) -> None:
        outer = open_batch(manager, Jobs(), "outer")
        while "\n\router" not in stream.getvalue():
            await asyncio.sleep(0.01)
        until.set()
        await asyncio.sleep(0.01)
        inner = open_batch(manager, Jobs(), "inner")
        while "inner" not in stream.getvalue():
            await asyncio.sleep(0.01)
        inner.close(None)
        outer.close(None)

    async def main() -> None:
        until = asyncio.Event()
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(other(until))
            await asyncio.sleep(0)
            group.create_task(outer_and_inner(until))

    asyncio.run(main())
    assert "\n\router" in stream.getvalue()
    assert "\n\n\rinner" in stream.getvalue()


def test_more_batches_than_bars_share_one_line() -> None:
    """A thousand concurrent batches take as many lines as were allowed, and one for the rest."""
    stream = Terminal()
    manager = manager_of(ProgressHandler(stream, max_bars=2))
    batches: list[tuple[Jobs, BatchScope]] = []

    def one() -> None:
        jobs = Jobs()
        batches.append((jobs, open_batch(manager, jobs)))
        jobs.run(1)

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: "and 18 more batches: 18/180 ok=18 failed=0" in stream.getvalue())
    assert len(progress_threads()) == 1
    for _, scope in batches:
        scope.close(None)


def test_closing_the_handler_closes_its_bars() -> None:
    """Taking the handler out in the middle leaves no half-drawn bar."""
    stream, jobs = Terminal(), Jobs()
    handler = ProgressHandler(stream)
    manager = manager_of(handler)
    scope = open_batch(manager, jobs)
    jobs.run(5)
    manager.remove_handler(handler)
    assert re.search(r" 5/10 \[.*\] *\n$", stream.getvalue())
    drawn = stream.getvalue()
    scope.close(None)
    assert stream.getvalue() == drawn


def test_a_broken_stream_is_nobody_s_problem() -> None:
    """A closed log file stops the lines, not the batch."""
    stream = io.StringIO()
    manager = CallbackManager([ProgressHandler(stream, line_interval=0.01)])
    scope = open_batch(manager, Jobs())
    stream.close()
    wait_until(lambda: not board._entries)
    scope.close(None)
    assert not manager.stats().handlers[0].quarantined


def test_a_display_that_fails_in_another_way_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Once, with its traceback; the batch goes on."""

    class Wrong(io.StringIO):
        def write(self, text: str) -> int:
            raise TypeError(text)

    manager = CallbackManager([ProgressHandler(Wrong(), line_interval=0.01)])
    scope = open_batch(manager, Jobs())
    wait_until(lambda: not board._entries)
    scope.close(None)
    (record,) = (each for each in caplog.records if each.name == "spanloom.handlers.progress")
    assert (record.levelname, bool(record.exc_info)) == ("ERROR", True)


def test_nothing_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """By default, progress is on standard error."""
    open_batch(manager_of(ProgressHandler()), Jobs(), total=0).close(None)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fetch: 0/0 ")


def test_a_name_cannot_steer_the_terminal() -> None:
    """Escape sequences and line breaks in a batch's name are shown, not obeyed."""
    stream = io.StringIO()
    open_batch(manager_of(ProgressHandler(stream)), Jobs(), "a\x1b[2J\nb" + "x" * 100, total=0).close(None)
    assert stream.getvalue().startswith("a\\x1b[2J\\nb")
    assert stream.getvalue().count("\n") == 1
    assert len(stream.getvalue()) < 100


def test_an_event_that_only_calls_itself_a_batch_is_ignored() -> None:
    """Without live numbers there is nothing to show."""
    stream = io.StringIO()
    with manager_of(ProgressHandler(stream)).event("batch", name="mine"):
        pass
    assert stream.getvalue() == ""


@pytest.mark.parametrize("options", [{"max_bars": 0}, {"line_interval": 0}, {"line_interval": float("nan")}])
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    """A handler that could never show anything is not made."""
    with pytest.raises(ValueError, match=r"\(got "):
        ProgressHandler(**options)  # type: ignore[arg-type]  # each of another type


def test_it_asks_for_batches_only() -> None:
    """Jobs cost nothing: no hook of the handler is called with them."""
    handler = ProgressHandler()
    assert handler.wants == frozenset({"batch"})
    assert handler.shows_progress
    assert not hasattr(handler, "on_events")


def test_a_forked_child_has_no_bars_and_no_thread() -> None:
    """The child neither draws nor closes what is its parent's, and can show batches of its own."""
    stream = Terminal()
    manager = manager_of(ProgressHandler(stream))
    scope = open_batch(manager, Jobs())
    wait_until(lambda: "fetch" in stream.getvalue())
    read, write = os.pipe()
    child = os.fork()
    if not child:
        before = len(stream.getvalue())
        quiet = not progress_threads() and not board._entries
        time.sleep(0.3)
        quiet = quiet and len(stream.getvalue()) == before
        open_batch(manager, Jobs(), "child", total=0).close(None)
        os.write(write, b"yes" if quiet and "child: " in stream.getvalue() else b"no")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"yes"
    os.close(read)
    os.close(write)
    scope.close(None)


PROGRAM = """
import asyncio, sys, time
from spanloom import _wiring
from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.handlers.progress import ProgressHandler

async def leaf(number):
    await asyncio.sleep(0.12)

async def job(number):
    await async_map(leaf, range(3), limit=1, desc="inner")
    if number == 1:
        raise ValueError(number)

async def main():
    await async_map(job, range(2), limit=1, desc="outer", on_error="return")
"""


def run_in_terminal(program: str, rows: int = 24, columns: int = 100, *, until: str = "") -> tuple[str, int]:
    """Run a program whose standard error is a real pseudo-terminal of that size; return what it drew.

    Its standard input ends when it has drawn `until`.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"},
    )
    assert process.stdin is not None
    os.close(theirs)
    drawn = b""
    try:
        while chunk := os.read(ours, 65536):
            drawn += chunk
            if until.encode() in drawn:
                process.stdin.close()
    except OSError:
        pass  # how Linux says that the other end is closed
    os.close(ours)
    process.stdin.close()
    return drawn.decode(), process.wait(30)


def test_a_real_terminal_shows_bars_that_nest_and_end_at_n_of_n() -> None:
    """In a pseudo-terminal, the engine's own batches are drawn, the inner one below, and the outer one stays."""
    drawn, status = run_in_terminal(
        PROGRAM
        + """
with use_callback_manager(CallbackManager([ProgressHandler()], raise_handler_errors=True)):
    asyncio.run(main())
"""
    )
    assert status == 0, drawn
    assert re.search(r"\n\rinner: .*[12]/3", drawn)
    last = drawn.rstrip("\r\n").rpartition("\r")[2]
    assert re.match(r"outer: 100%\|.*\| 2/2 \[.*, ok=1 failed=1\]$", last)


def test_a_terminal_that_does_not_know_its_size_shows_bars_all_the_same() -> None:
    """A fresh pseudo-terminal says that it is 0 x 0, as `docker -t` does; bars are drawn 80 wide."""
    drawn, status = run_in_terminal(
        f'{PROGRAM}\nasyncio.run(async_map(leaf, range(4), show_progress=True, desc="solo"))', 0, 0
    )
    assert status == 0, drawn
    assert re.search(r"solo: 100%\|.*\| 4/4 ", drawn)


def test_show_progress_needs_no_handler_and_makes_no_second_bar() -> None:
    """A runner shows its own bar, but not if a handler shows all batches already."""
    plain = 'asyncio.run(async_map(leaf, range(4), show_progress=True, desc="solo"))'
    alone, status = run_in_terminal(f"{PROGRAM}\n{plain}")
    assert status == 0, alone
    assert re.search(r"solo: 100%\|.*\| 4/4 ", alone)
    both, status = run_in_terminal(
        f"{PROGRAM}\nwith use_callback_manager(CallbackManager([ProgressHandler()])):\n  {plain}"
    )
    assert status == 0, both
    assert alone.count("100%") == both.count("100%")


@pytest.mark.parametrize("handlers", ["ProgressHandler()", ""])
def test_an_interpreter_that_exits_in_the_middle_of_a_batch_closes_the_bar(handlers: str) -> None:
    """A batch in a daemon thread never ends, and still the shell's prompt is on a line of its own."""
    drawn, status = run_in_terminal(
        PROGRAM
        + f"""
import threading

def in_a_thread():
    with use_callback_manager(CallbackManager([{handlers}])):
        asyncio.run(async_map(asyncio.sleep, [60], desc="endless", show_progress=True))

threading.Thread(target=in_a_thread, daemon=True).start()
sys.stdin.read()
""",
        until="endless",
    )
    assert status == 0, drawn
    assert re.search(r"endless: +0%\|.*\| 0/1 .*\] *\r\n$", drawn)
