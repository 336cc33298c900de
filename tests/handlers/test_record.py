"""`RecordHandler`: what is in the file, when it is there, and what the work feels of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spanloom import CallbackManager, async_map, get_callback_manager, use_callback_manager
from spanloom.callbacks.drain import BACKLOG
from spanloom.callbacks.guard import Guard
from spanloom.events.event import ScopeEvent
from spanloom.events.ids import new_event_id
from spanloom.events.trace import Trace
from spanloom.handlers.record import MAX_ROWS, MIN_ROWS, RecordHandler
from spanloom.store import Record, Run, StoreReader
from tests.waited import waited


def read(path: Path, ref: str = "last") -> tuple[Run, list[Record]]:
    with StoreReader(path) as store:
        run = store.find(ref)
        return run, list(store.records(run))


def names(path: Path, ref: str = "last") -> list[str]:
    return [found.name for found in read(path, ref)[1]]


def wait_until(condition: Callable[[], object], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def open_names(path: Path) -> set[str]:
    if not path.exists():
        return set()
    with StoreReader(path) as store:
        return {found.name for run in store.runs()[:1] for found in store.records(run, is_open=True)}


def kill(program: str, *arguments: object) -> None:
    """Run a program that kills itself."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


# what the work feels ----------------------------------------------------------------------------------------


def test_nothing_is_called_where_events_start_or_end(tmp_path: Path) -> None:
    """The hand-over to the drain is all: there is no inline hook, unless every event is to be safe at once."""
    inline = ("on_event_start", "on_event_end", "on_event", "job_hooks", "start_trace", "end_trace")
    guard = Guard(RecordHandler(tmp_path / "runs.db"), raise_errors=True)
    assert not any(guard.defines(hook) for hook in inline)
    guard = Guard(RecordHandler(tmp_path / "runs.db", durability="event"), raise_errors=True)
    assert {hook for hook in inline if guard.defines(hook)} == {"on_event_end", "on_event"}


async def test_the_file_is_written_on_a_thread_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction of a running batch is on the loop's thread."""
    from spanloom.store import writer

    threads = []
    real = writer.transaction
    monkeypatch.setattr(
        writer, "transaction", lambda connection: (threads.append(threading.get_ident()), real(connection))[1]
    )
    manager = CallbackManager([RecordHandler(tmp_path / "runs.db")])
    with use_callback_manager(manager):
        await async_map(asyncio.sleep, [0.01] * 200, limit=5)
    assert threads
    assert threading.get_ident() not in threads
    await manager.aclose()


def test_nothing_is_made_before_the_first_event(tmp_path: Path) -> None:
    """A handler that gets no event makes neither file nor directory, not even when it is closed."""
    path = tmp_path / "there" / "runs.db"
    with CallbackManager([RecordHandler(path)]) as manager:
        manager.flush()
    assert list(tmp_path.iterdir()) == []


def test_the_memory_of_a_long_batch_is_flat(tmp_path: Path) -> None:
    """What waits to be written is bounded, however many jobs there are; each is less than 250 bytes in the file."""

    async def run(count: int) -> tuple[int, int]:
        with CallbackManager([RecordHandler(path := tmp_path / f"{count}.db")]) as manager:
            with use_callback_manager(manager):
                await async_map(asyncio.sleep, (0 for _ in range(count)), limit=32, on_error="skip")
            manager.flush(30)
            _, peak = tracemalloc.get_traced_memory()
        assert read(path)[0].produced == count + 1
        return peak, path.stat().st_size

    count = 100_000
    tracemalloc.start()
    peak, size = asyncio.run(run(count))
    tracemalloc.stop()
    assert size / count < 250
    # Results are a list of 8 bytes an entry. All events would be 50 MB; what waits for the thread, or for its next
    # transaction, is bounded in number.
    assert peak < count * 8 + (BACKLOG + MAX_ROWS) * 500


def test_a_transaction_takes_no_more_than_the_file_has_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction for which a full disk has no room is lost as a whole, so that is never most of the record."""
    handler = RecordHandler(tmp_path / "runs.db")
    writer, sizes = handler._writer, []
    real = writer.write

    def write(wait_s: float, *, ended: bool = False) -> bool:
        sizes.append(len(writer.rows))
        return real(wait_s, ended=ended)

    monkeypatch.setattr(writer, "write", write)
    trace = Trace("steps", new_event_id())
    for number in range(0, 5 * MAX_ROWS, 512):
        handler.on_events(
            [
                ScopeEvent("step", "a", new_event_id(), None, trace, number + at, end_ns=number + at)
                for at in range(512)
            ]
        )
    handler.close()
    assert sizes[:4] == [MIN_ROWS, MIN_ROWS, MAX_ROWS, MAX_ROWS]
    assert max(sizes) == MAX_ROWS
    assert len(read(handler.path)[1]) == 5 * MAX_ROWS


# what is open -----------------------------------------------------------------------------------------------


def test_what_outlives_a_flush_is_there_as_open(tmp_path: Path) -> None:
    """An open scope is in the file soon, although nothing ends; its end completes it."""
    path = tmp_path / "runs.db"
    with CallbackManager([RecordHandler(path)]) as manager:
        with manager.event(name="outer"):
            wait_until(lambda: open_names(path) == {"outer"})
            with manager.event(name="inner"):
                wait_until(lambda: open_names(path) == {"outer", "inner"})
            manager.flush()
            assert open_names(path) == {"outer"}
            run, _ = read(path)
            assert run.state == "running"
        manager.flush()
        assert open_names(path) == set()
    run, records = read(path)
    assert [(found.name, found.status) for found in records] == [("outer", "ok"), ("inner", "ok")]
    assert run.state == "ended"


async def test_open_jobs_are_there_with_their_batch_and_its_numbers(tmp_path: Path) -> None:
    """A batch that is stuck shows its open jobs, and says every second that it is there and how far it is."""
    path, gate = tmp_path / "runs.db", asyncio.Event()

    async def work(item: int) -> None:
        if item % 2:
            await gate.wait()

    manager = CallbackManager([RecordHandler(path)])
    with use_callback_manager(manager):
        batch = asyncio.create_task(async_map(work, range(10), limit=10, desc="stuck"))
        await asyncio.to_thread(wait_until, lambda: open_names(path) == {"stuck", work.__name__})
        first, records = read(path)
        found = [record for record in records if record.end_ns is None and record.type == "job"]
        assert sorted(record.job_index for record in found) == [1, 3, 5, 7, 9]
        assert {record.status for record in found} == {None}
        await asyncio.to_thread(wait_until, lambda: read(path)[0].seen_ns > first.seen_ns)
        again, records = read(path)
        assert 0 < again.seen_ns - first.seen_ns < 1_500_000_000
        (counts,) = [record.counts for record in records if record.type == "batch"]
        assert (counts.total, counts.started, counts.in_flight) == (10, 10, 5)
        gate.set()
        await batch
    await manager.aclose()
    run, records = read(path)
    assert [record.status for record in records] == ["ok"] * 11
    with StoreReader(path) as store:
        summary = store.summary(run)
        assert (summary.events, summary.jobs, summary.open) == (11, 10, 0)


async def test_looking_at_many_open_jobs_is_looking_at_the_new_ones(tmp_path: Path) -> None:
    """A job that has been seen open is not looked at again, however many there are."""
    gate, looked = asyncio.Event(), []
    handler = RecordHandler(path := tmp_path / "runs.db")
    manager = CallbackManager([handler])
    (view,) = handler._views
    between = view.between

    def counted(start_ns: int, end_ns: int) -> object:
        found = list(between(start_ns, end_ns))
        looked.append(len(found))
        return found

    view.between = counted  # type: ignore[method-assign]  # to count what a scan finds
    with use_callback_manager(manager):
        batch = asyncio.create_task(async_map(lambda _: gate.wait(), range(5_000), limit=None))
        await asyncio.to_thread(wait_until, lambda: sum(looked) == 5_001)
        before = len(looked)
        await asyncio.to_thread(wait_until, lambda: len(looked) > before + 5)
        assert sum(looked) == 5_001
        for since_ns in (0, time.perf_counter_ns() - 1_000):
            found = manager.opened_since(since_ns, 0, jobs=True)
            assert (len(found) > 5_000) == (since_ns == 0)
            assert since_ns == 0 or len(found) <= 2 * 64
        gate.set()
        await batch
    await manager.aclose()
    assert len(read(path)[1]) == 5_001


KILLED_STUCK = """
    import asyncio, os, signal, sys, threading, time
    from spanloom import CallbackManager, async_map, use_callback_manager
    from spanloom.handlers.record import RecordHandler

    async def work(item):
        if item >= 100:
            await asyncio.sleep(60)

    async def main():
        manager = CallbackManager([RecordHandler(sys.argv[1])])
        with use_callback_manager(manager), manager.event(name="outer"):
            threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGKILL)).start()
            await async_map(work, range(110), limit=10, desc="stuck")

    asyncio.run(main())
"""


def test_after_a_kill_what_had_ended_is_there_and_what_was_open_is_interrupted(tmp_path: Path) -> None:
    """A process that is killed in the middle of a batch leaves all of it behind, and for how long it had run."""
    kill(KILLED_STUCK, path := tmp_path / "runs.db")
    run, records = read(path)
    assert (run.state, run.exit_code, run.dropped) == ("interrupted", None, 0)
    jobs = {record.job_index: record for record in records if record.type == "job"}
    assert sorted(jobs) == list(range(110))
    assert {jobs[index].status for index in range(100)} == {"ok"}
    assert {jobs[index].status for index in range(100, 110)} == {"interrupted"}
    open_ns = run.seen_ns - jobs[105].start_ns
    assert 300_000_000 < open_ns < 1_500_000_000
    assert {record.name for record in records if record.status == "interrupted"} >= {"outer", "stuck", "work"}


# per event --------------------------------------------------------------------------------------------------

KILLED_AT_ONCE = """
    import asyncio, os, signal, sys
    from spanloom import CallbackManager, async_map, use_callback_manager
    from spanloom.handlers.record import RecordHandler

    done = []

    async def work(item):
        await asyncio.sleep(0.0001 * (item % 7))
        done.append(item)

    async def main():
        manager = CallbackManager([RecordHandler(sys.argv[1], durability="event")])
        with use_callback_manager(manager):
            with manager.event(name="first"):
                pass
            manager.emit(name="point")
            stream = asyncio.create_task(async_map(work, range(1000), limit=8))
            while len(done) < int(sys.argv[2]):
                await asyncio.sleep(0)
            os.write(1, str(len(done)).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main())
"""


@pytest.mark.parametrize("when", [1, 10, 77, 400])
def test_with_durability_event_a_kill_loses_nothing_that_had_ended(tmp_path: Path, when: int) -> None:
    """What had ended before the very moment of the SIGKILL is in the file, each and every one."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(KILLED_AT_ONCE),
            str(path := tmp_path / "runs.db"),
            str(when),
        ],
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    _, records = read(path)
    assert [record.name for record in records if record.status == "ok" and record.type != "job"] == [
        "first",
        "point",
    ]
    assert (
        sum(record.status == "ok" for record in records if record.type == "job") == int(done.stdout) >= when
    )


def test_with_durability_event_what_a_signal_ends_in_the_middle_of_a_hook_is_written(tmp_path: Path) -> None:
    """An alarm each millisecond, whose handler ends an event, mostly while another is being written: all are there."""
    with CallbackManager([RecordHandler(path := tmp_path / "runs.db", durability="event")]) as manager:
        waiting = [manager.on_event_start("step", {"number": number}) for number in range(100)]

        def end_one(_: int, __: object) -> None:
            if waiting:
                manager.on_event_end(waiting.pop())

        before = signal.signal(signal.SIGALRM, end_one)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            between = 0
            while waiting:
                manager.emit(name="between")
                between += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert manager.flush(60)
        run, found = read(path)
        assert sum(record.type == "step" and record.end_ns is not None for record in found) == 100
        assert len(found) == 100 + between
        assert (run.produced, run.dropped) == (len(found), 0)
        assert (manager.stats().delivered, manager.stats().dropped) == (len(found), 0)


def test_durability_is_one_of_two(tmp_path: Path) -> None:
    """Anything else is refused, and the message says what there is."""
    with pytest.raises(ValueError, match=r'durability is "flush" or "event" \(got \'disk\'\)'):
        RecordHandler(tmp_path / "runs.db", durability="disk")  # type: ignore[arg-type]  # that is the point


# what is recorded -------------------------------------------------------------------------------------------


def payloads(path: Path) -> list[dict[str, object] | None]:
    return [found.payload for found in read(path)[1]]


async def make_payloads(path: Path, *, recorded: bool) -> list[dict[str, object] | None]:
    with CallbackManager([RecordHandler(path, payloads=recorded)]) as manager, use_callback_manager(manager):
        with manager.event("llm", {"prompt": "secret", "limit": "mine"}) as event:
            event.link(event, why="secret")
        manager.emit(payload={"prompt": "secret"})
        await async_map(asyncio.sleep, [0], limit=3)
    return payloads(path)


async def test_payloads_are_off_by_default(tmp_path: Path) -> None:
    """What was attached by the user is not in the file; what spanloom itself says is, where it says it."""
    llm, mark, batch, job = await make_payloads(path := tmp_path / "runs.db", recorded=False)
    assert b"secret" not in path.read_bytes()
    assert (mark, job) == (None, None)
    assert batch == {"runner": "async_map", "limit": 3}
    assert set(llm) == {"links"}
    assert set(llm["links"][0]) == {"trace_id", "event_id"}


async def test_payloads_are_recorded_on_request(tmp_path: Path) -> None:
    """With ``payloads=True`` everything plain is there."""
    llm, mark, _, _ = await make_payloads(tmp_path / "runs.db", recorded=True)
    assert (llm["prompt"], llm["limit"], llm["links"][0]["attributes"]) == (
        "secret",
        "mine",
        {"why": "secret"},
    )
    assert mark == {"prompt": "secret"}


def test_payloads_are_bounded_and_plain(tmp_path: Path) -> None:
    """Nothing large, and no code of the user's: neither ``__repr__`` nor ``__str__``."""

    class Loud:
        def __repr__(self) -> str:
            raise AssertionError("called")

        __str__ = __repr__

    with CallbackManager([RecordHandler(path := tmp_path / "runs.db", payloads=True)]) as manager:
        manager.emit(payload={"long": "x" * 1_000_000, "many": list(range(10_000)), "loud": Loud()})
    (payload,) = payloads(path)
    assert len(json.dumps(payload)) < 10_000
    assert "Loud" in str(payload["loud"])


def test_names_that_utf8_cannot_hold_are_recorded(tmp_path: Path) -> None:
    """Lone surrogates, NULs, and anything else that a name may have in it."""
    given = ["\ud800", "a\x00b", "x" * 5_000, "\u202e", "'; DROP TABLE run; --"]
    with CallbackManager([RecordHandler(path := tmp_path / "runs.db")]) as manager:
        for name in given:
            manager.emit(name=name)
    assert names(path) == ["\\ud800", "a\x00b", "x" * 499 + "…", "\u202e", "'; DROP TABLE run; --"]


def test_a_run_says_what_was_run(tmp_path: Path, run_python: Callable[[str], str]) -> None:
    """Name, command line, directory, process, versions and times; the exit code if someone knew it."""
    path = tmp_path / "runs.db"
    run_python(
        f"""
        from spanloom import CallbackManager
        from spanloom.handlers.record import RecordHandler
        handler = RecordHandler({str(path)!r}, name="mine")
        with CallbackManager([handler]) as manager:
            manager.emit()
            handler.exit_code = 3
        """
    )
    run, _ = read(path)
    assert (run.name, run.exit_code, run.cwd, run.state) == ("mine", 3, str(Path.cwd()), "ended")
    assert run.argv[0] == sys.executable
    assert run.argv[-2] == "-c"
    assert run.pid != os.getpid()
    assert run.python == sys.version.split()[0]
    assert run.started_wall_ns <= run.last_seen_wall_ns <= run.ended_wall_ns <= time.time_ns()
    assert run.ended_wall_ns - run.started_wall_ns < 60 * 10**9


def test_many_names_traces_and_errors_are_bounded_in_memory_and_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond what is remembered a text is written once more; what refers to it is found all the same."""
    from spanloom.store import rows

    monkeypatch.setattr(rows, "MAX_NUMBERED", 10)
    handler = RecordHandler(path := tmp_path / "runs.db")
    with CallbackManager([handler]) as manager:
        for number in range(100):
            with pytest.raises(ValueError), manager.event(name=f"name {number % 30}"):
                raise ValueError(str(number % 30))
    _, records = read(path)
    assert [(found.name, found.error.message) for found in records] == [
        (f"name {number % 30}", str(number % 30)) for number in range(100)
    ]


# the environment --------------------------------------------------------------------------------------------


def test_it_is_switched_on_by_the_environment(tmp_path: Path) -> None:
    """`SPANLOOM_HANDLERS=record` records to ``.spanloom/runs.db``, or to what `SPANLOOM_RECORD` says."""
    program = "import spanloom; spanloom.get_callback_manager().emit(name='a')"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SPANLOOM_")}
    for more, path in (
        ({}, tmp_path / ".spanloom/runs.db"),
        ({"SPANLOOM_RECORD": "b.db"}, tmp_path / "b.db"),
    ):
        subprocess.run(
            [sys.executable, "-c", program],
            env=clean | {"SPANLOOM_HANDLERS": "record"} | more,
            cwd=tmp_path,
            check=True,
            timeout=60,
        )
        assert names(path) == ["a"]
        assert read(path)[0].state == "ended"
    assert (tmp_path / ".spanloom/.gitignore").read_text() == "*\n"


def test_the_directory_at_the_start_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that changes its directory goes on recording to the same file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPANLOOM_RECORD", raising=False)
    with CallbackManager([handler := RecordHandler()]) as manager:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        manager.emit(name="a")
    assert handler.path == tmp_path / ".spanloom" / "runs.db"
    assert names(handler.path) == ["a"]


# more than one ----------------------------------------------------------------------------------------------


def test_two_managers_may_share_a_handler(tmp_path: Path) -> None:
    """They have one run; when one of them is closed, the other goes on."""
    handler = RecordHandler(path := tmp_path / "runs.db")
    one, two = CallbackManager([handler]), CallbackManager([handler])
    one.emit(name="a")
    two.emit(name="b")
    one.close()
    assert read(path)[0].state == "ended"
    two.emit(name="c")
    two.flush()
    assert read(path)[0].state == "running"
    two.close()
    run, _ = read(path)
    assert (run.state, run.produced) == ("ended", 3)
    assert names(path) == ["a", "b", "c"]


def test_what_was_open_when_a_handler_was_added_is_not_recorded(tmp_path: Path) -> None:
    """A handler gets no end of what started before it, so it does not show it as open either."""
    manager = CallbackManager()
    handler = RecordHandler(path := tmp_path / "runs.db")
    with manager.event(name="before"):
        manager.add_handler(handler)
        with manager.event(name="after"):
            manager.flush()
    manager.close()
    assert names(path) == ["after"]


def test_what_is_open_at_the_end_is_interrupted(tmp_path: Path) -> None:
    """A manager that is closed before an event ends never hears of its end."""
    manager = CallbackManager([RecordHandler(path := tmp_path / "runs.db")])
    with manager.event(name="late"):
        manager.close()
    assert [(found.name, found.status) for found in read(path)[1]] == [("late", "interrupted")]


WRITERS = """
    import asyncio, sys
    from spanloom import CallbackManager, async_map, use_callback_manager
    from spanloom.handlers.record import RecordHandler

    async def main():
        manager = CallbackManager([handler := RecordHandler(sys.argv[1])])
        sys.stdin.readline()
        with use_callback_manager(manager):
            for _ in range(5):
                await async_map(asyncio.sleep, [0] * 2000, limit=50)
        await manager.aclose(30)
        print(manager.stats().dropped, handler.lost)

    asyncio.run(main())
"""


def test_several_processes_write_to_one_file_at_once(tmp_path: Path) -> None:
    """Each has its run, and all of it."""
    path = tmp_path / "runs.db"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITERS), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120) for process in started] == [("0 0\n", "")] * 4
    with StoreReader(path) as store:
        runs = store.runs()
        assert [(run.state, run.produced, run.dropped) for run in runs] == [("ended", 10_005, 0)] * 4
        for run in runs:
            jobs = [found.job_index for found in store.records(run, types=["job"])]
            assert sorted(jobs) == sorted([*range(2_000)] * 5)


def test_a_forked_child_has_a_run_of_its_own(tmp_path: Path, run_python: Callable[[str], str]) -> None:
    """Parent and child go on, each in its run; a child in which nothing happens has none."""
    path = tmp_path / "runs.db"
    run_python(
        f"""
        import os, sys
        from spanloom import CallbackManager
        from spanloom.handlers.record import RecordHandler
        manager = CallbackManager([handler := RecordHandler({str(path)!r})])
        manager.emit(name="before")
        manager.flush()
        for name in ("child", ""):
            if not (pid := os.fork()):
                if name:
                    manager.emit(name=name)
                sys.exit()
            assert os.waitpid(pid, 0)[1] == 0
            manager.emit(name="after")
        manager.close()
        """
    )
    with StoreReader(path) as store:
        runs = store.runs()
        assert {run.state for run in runs} == {"ended"}
        found = [[record.name for record in store.records(run)] for run in runs]
    assert sorted(found) == [["before", "after", "after"], ["child"]]
    assert len({run.pid for run in runs}) == 2


def test_a_program_that_forks_while_it_records_is_not_held_up(
    tmp_path: Path, run_python: Callable[[str], str]
) -> None:
    """A pool of forked workers beside a batch: every process has its run, whole, and the file is sound."""
    path = tmp_path / "runs.db"
    run_python(
        f"""
        import asyncio, multiprocessing, spanloom
        from spanloom import CallbackManager, async_map, use_callback_manager
        from spanloom.handlers.record import RecordHandler
        manager = CallbackManager([RecordHandler({str(path)!r})])

        def work(number):
            manager.emit(name="in a child")
            manager.flush()
            return number

        async def main():
            with use_callback_manager(manager):
                batch = asyncio.create_task(async_map(asyncio.sleep, [0.001] * 3000, limit=50))
                await asyncio.sleep(0.02)
                with multiprocessing.get_context("fork").Pool(3) as pool:
                    results = pool.map_async(work, range(30), chunksize=1)
                    await batch
                    assert results.get(30) == list(range(30))
            await manager.aclose()

        asyncio.run(main())
        """
    )
    with StoreReader(path) as store:
        by_run = [list(store.records(run)) for run in store.runs()]
    assert max(len(records) for records in by_run) == 3_001
    assert sum(len(records) for records in by_run) == 3_001 + 30


# faults -----------------------------------------------------------------------------------------------------


async def unharmed(handler: RecordHandler, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Run a batch that must not notice; return what was said about its record."""
    with caplog.at_level(logging.WARNING):
        manager = CallbackManager([handler])
        with use_callback_manager(manager):
            for _ in range(3):
                assert await async_map(asyncio.sleep, [0] * 500, limit=50) == [None] * 500
                await asyncio.sleep(0.15)
        manager.flush()
        stats, lost = manager.stats(), handler.lost
        with waited() as seconds:
            await manager.aclose()
        assert seconds() < 1.5
    (one,) = stats.handlers
    assert not one.quarantined
    assert one.produced == one.delivered + one.dropped + one.pending == 1_503
    assert one.dropped == lost
    assert handler.lost == 1_503  # what still waited for the file is lost with the end
    return [entry.getMessage() for entry in caplog.records]


async def test_a_file_that_cannot_be_made_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file where a directory should be: the run goes on, the loss is counted, and said once."""
    (tmp_path / "file").touch()
    handler = RecordHandler(tmp_path / "file" / "runs.db")
    (said,) = await unharmed(handler, caplog)
    assert "cannot record to" in said
    assert str(handler.path) in said


async def test_a_file_of_a_newer_version_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is recorded to it, all is counted as dropped, and it is said once."""
    from tests.store.files import change, record

    record(path := tmp_path / "runs.db", "a")
    change(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    handler = RecordHandler(path)
    (said,) = await unharmed(handler, caplog)
    assert "newer version" in said
    assert handler.lost == 1_503
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same for a file of another kind."""
    (path := tmp_path / "runs.db").write_text("precious")
    handler = RecordHandler(path)
    (said,) = await unharmed(handler, caplog)
    assert "nothing is recorded" in said
    assert handler.lost == 1_503
    assert path.read_text() == "precious"


def test_a_file_that_is_removed_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on in a new file, with what is open; what went with the old one is counted and said once."""
    path = tmp_path / "there" / "runs.db"
    manager = CallbackManager([handler := RecordHandler(path)])
    with manager.event(name="open"):
        for _ in range(2):
            manager.emit(name="lost")
            manager.flush()
            for child in path.parent.iterdir():
                child.unlink()
            path.parent.rmdir()
            manager.emit(name="lost, too")
            manager.flush()
        manager.emit(name="kept")
        manager.flush()
        wait_until(lambda: set(names(path)) >= {"open", "kept"})
    manager.flush()
    stats = manager.stats()
    manager.close()
    run, records = read(path)
    assert run.run_id == handler.run_id
    assert run.dropped == handler.lost == stats.dropped > 0
    assert stats.produced == stats.delivered + stats.dropped
    assert len(records) == run.produced - run.dropped
    assert {found.name: found.status for found in records if found.name != "lost, too"} == {
        "open": "ok",
        "kept": "ok",
    }
    assert len([entry for entry in caplog.records if "removed or replaced" in entry.getMessage()]) == 1


def test_a_run_that_someone_deleted_begins_anew(tmp_path: Path) -> None:
    """Rows of a run that is not in the file any more would be seen by nobody."""
    from tests.store.files import change

    manager = CallbackManager([handler := RecordHandler(path := tmp_path / "runs.db")])
    manager.emit(name="lost")
    manager.flush()
    change(path, "DELETE FROM event", "DELETE FROM run")
    manager.emit(name="lost, too")
    manager.flush()
    manager.emit(name="kept")
    manager.close()
    assert names(path) == ["kept"]
    assert handler.lost == 2
    assert read(path)[0].dropped == 2


def test_a_file_that_is_locked_for_long_is_waited_for(tmp_path: Path) -> None:
    """Another program may hold the file: what ended meanwhile is written later, and nothing is lost."""
    import sqlite3
    from contextlib import closing

    handler = RecordHandler(path := tmp_path / "runs.db")
    manager = CallbackManager([handler])
    manager.emit(name="a")
    manager.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with manager.event(name="b"):
            time.sleep(0.3)
        assert manager.flush(0.2) is False
        stats = manager.stats()
        assert (stats.delivered, stats.pending, stats.dropped) == (1, 1, 0)
        other.execute("COMMIT")
    assert manager.flush()
    manager.close()
    assert handler.lost == 0
    assert names(path) == ["a", "b"]


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Have another process hold the write lock of the file."""
    program = """
        import sqlite3, sys
        other = sqlite3.connect(sys.argv[1], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        print(flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()


def test_a_flush_and_an_end_take_no_longer_than_they_may_while_the_file_is_locked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With nothing to write nobody waits; else a flush takes its time, an end what is left, and says what is lost."""
    manager = CallbackManager([handler := RecordHandler(path := tmp_path / "runs.db")])
    manager.emit(name="a")
    assert manager.flush()
    with held(path):
        with waited() as seconds:
            assert manager.flush(5.0)
        assert seconds() < 1.0
        for _ in range(10):
            manager.emit(name="b")
        with waited() as seconds:
            assert not manager.flush(0.3)
        assert seconds() < 1.5
        stats = manager.stats()
        assert (stats.delivered, stats.pending, stats.dropped) == (1, 10, 0)
        with waited() as seconds:
            assert not manager.close(0.5)
        assert seconds() < 2.0
    assert handler.lost == 10
    (said,) = caplog.records
    assert f"the last 10 events of the run are not in {path}" in said.getMessage()
    assert names(path) == ["a"]


@pytest.mark.parametrize("events", [0, 10])
def test_an_exit_while_the_file_is_locked_takes_two_seconds_and_says_what_is_lost(
    tmp_path: Path, events: int
) -> None:
    """A process that ends while another one holds the file does not wait for that one."""
    path = tmp_path / "runs.db"
    program = """
        import sys
        from spanloom import CallbackManager
        from spanloom.handlers.record import RecordHandler
        manager = CallbackManager([RecordHandler(sys.argv[1])])
        manager.emit(name="a")
        assert manager.flush()
        print(flush=True)
        sys.stdin.readline()
        for _ in range(int(sys.argv[2])):
            manager.emit(name="b")
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path), str(events)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with held(path):
            with waited() as seconds:
                _, said = process.communicate("\n", timeout=30)
            assert seconds() < 4.0
    assert process.returncode == 0
    assert said.count("the last 10 events of the run are not in") == (events == 10)
    assert names(path) == ["a"]
    assert read(path)[0].state == "interrupted"


async def test_with_durability_event_the_loop_waits_once_for_another_process(tmp_path: Path) -> None:
    """While another process holds the file the handler's thread tries again, and all of it is written in the end."""
    manager = CallbackManager([handler := RecordHandler(path := tmp_path / "runs.db", durability="event")])
    with use_callback_manager(manager):
        await async_map(asyncio.sleep, [0.001], limit=1)
        with held(path):
            with waited() as seconds:
                await async_map(asyncio.sleep, [0.001] * 30, limit=1)
            assert seconds() < 2.0
        await asyncio.to_thread(wait_until, lambda: not handler.waiting)
    await manager.aclose()
    assert handler.lost == 0
    assert len(read(path)[1]) == 1 + 1 + 1 + 30


def test_what_waited_for_another_process_is_written_although_nothing_more_happens(tmp_path: Path) -> None:
    """A program that goes quiet while the file is held has its last events in it soon after."""
    manager = CallbackManager([handler := RecordHandler(path := tmp_path / "runs.db")])
    manager.emit(name="a")
    manager.flush()
    with held(path):
        manager.emit(name="b")
        wait_until(lambda: handler.waiting)
        time.sleep(0.5)
    wait_until(lambda: names(path) == ["a", "b"])
    manager.close()


async def test_the_numbers_of_a_batch_take_one_row_while_the_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a batch is looked at, what waits of it does not grow."""
    from spanloom.handlers import record

    monkeypatch.setattr(record, "BEAT_NS", 1)
    (tmp_path / "file").touch()
    manager = CallbackManager([handler := RecordHandler(tmp_path / "file" / "runs.db")])
    with use_callback_manager(manager):
        gate = asyncio.Event()
        batch = asyncio.create_task(async_map(lambda _: gate.wait(), range(2)))
        looked: list[int] = []
        take_counts = handler._writer.rows.take_counts
        monkeypatch.setattr(
            handler._writer.rows,
            "take_counts",
            lambda: looked.append(len(take_counts() or handler._writer.rows.batches)),
        )
        await asyncio.to_thread(wait_until, lambda: looked.count(1) > 3)
        assert set(looked) <= {0, 1}
        gate.set()
        await batch
    await manager.aclose()


def test_a_fork_does_not_wait_for_another_process(tmp_path: Path, run_python: Callable[[str], str]) -> None:
    """While the writer waits for the file, a fork gets its turn in between."""
    record_one = CallbackManager([RecordHandler(path := tmp_path / "runs.db")])
    record_one.emit()
    record_one.close()
    with held(path):
        took_s = run_python(
            f"""
            import os, time
            from spanloom import CallbackManager
            from spanloom.handlers.record import RecordHandler
            manager = CallbackManager([RecordHandler({str(path)!r})])
            manager.emit(name="a")
            time.sleep(0.2)
            took_s = []
            for _ in range(5):  # on a busy machine, one may take long for reasons of its own
                began = time.monotonic()
                if not (pid := os.fork()):
                    os._exit(0)
                took_s.append(time.monotonic() - began)
                os.waitpid(pid, 0)
            print(min(took_s), flush=True)
            manager.remove_handler(manager.handlers[0], 0)
            os._exit(0)
            """
        )
    assert float(took_s) < 0.7


def test_while_the_disk_is_full_a_bounded_number_waits_and_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite's own bound on the size of a file stands for the disk: when there is room again, it goes on."""
    from spanloom.store import writer

    monkeypatch.setattr(writer, "MAX_WAITING", 50)
    monkeypatch.setattr(writer, "RETRY_NS", 1)
    monkeypatch.setattr(writer, "MAX_RETRY_NS", 1)
    room = [50]
    real = writer.connect

    def connect(path: Path, wait_s: float) -> object:
        connection = real(path, wait_s)
        connection.execute(f"PRAGMA max_page_count = {room[0]}")
        return connection

    monkeypatch.setattr(writer, "connect", connect)
    manager = CallbackManager([handler := RecordHandler(path := tmp_path / "runs.db")])
    for number in range(3_000):
        manager.emit(name=f"{number} {'x' * 200}")
        if number % 100 == 0:
            manager.flush()
    assert handler.lost > 0
    room[0] = 1 << 30
    manager.emit(name="the last that the old connection refuses")
    manager.flush()
    manager.emit(name="room")
    assert manager.flush()
    stats = manager.stats()
    manager.close()
    run, records = read(path)
    assert records[-1].name == "room"
    assert len(records) == 3_002 - handler.lost
    assert run.dropped == handler.lost == stats.dropped
    assert len(caplog.records) == 1
    assert "full" in caplog.records[0].getMessage()


def test_a_handler_that_was_taken_out_goes_on_when_it_is_added_again(tmp_path: Path) -> None:
    """The same run goes on, and is running until it is closed again."""
    handler = RecordHandler(path := tmp_path / "runs.db")
    manager = CallbackManager([handler])
    manager.emit(name="a")
    manager.remove_handler(handler)
    assert read(path)[0].state == "ended"
    manager.add_handler(handler)
    manager.emit(name="b")
    manager.close()
    with StoreReader(path) as store:
        (run,) = store.runs()
    assert run.state == "ended"
    assert names(path) == ["a", "b"]


def test_the_default_manager_is_not_touched(tmp_path: Path) -> None:
    """A handler is on the manager it was given to, and nowhere else."""
    RecordHandler(tmp_path / "runs.db")
    assert not any(isinstance(handler, RecordHandler) for handler in get_callback_manager().handlers)
