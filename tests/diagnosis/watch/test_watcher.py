"""The watching thread and its socket: who may ask, what is answered, and that the program is left as it is."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanloom.diagnosis.watch.client import ask, watched_pid
from spanloom.diagnosis.watch.endpoint import Endpoint
from spanloom.diagnosis.watch.folder import LOOKED_THROUGH_S, folder, made_folder, socket_path
from spanloom.exceptions import NotWatchedError, StoreError
from spanloom.store import StoreReader
from tests.diagnosis.watch.running import findings_of, run
from tests.environments import run_program

SPANLOOM = [sys.executable, "-m", "spanloom"]


def written(folder: Path, text: str) -> Path:
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def output(path: Path) -> str:
    return path.with_suffix(".out").read_text(encoding="utf-8")


def until(condition: Callable[[], object], within_s: float = 20.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Return what the record says of the last run."""
    done = subprocess.run(
        [*SPANLOOM, "why", "last", "--json", "--file", str(folder / "program.db")],
        capture_output=True,
        check=True,
        timeout=60,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def is_written(file: Path) -> bool:
    """Tell whether a snapshot of what is wrong is in the record."""
    try:
        with StoreReader(file) as store:
            return any(found.type == "stall" for found in store.records(store.find("last")))
    except StoreError:  # it is not there yet
        return False


IDLE = """
    import asyncio
    async def main():
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()
    asyncio.run(main())
"""


def test_only_the_user_can_reach_the_socket(tmp_path: Path) -> None:
    """The folder has the mode 0700, the socket 0600; a question that is unknown is answered with those that are not."""
    with run(written(tmp_path, IDLE), tmp_path) as process:
        pid = watched_pid(process.pid, wait_s=20)
        assert stat.S_IMODE(folder().stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_path(pid).stat().st_mode) == 0o600
        assert ask(pid, "ping") == "here"
        with pytest.raises(NotWatchedError, match="this process answers ping"):
            ask(pid, "exec", code="1")


def test_whoever_asks_badly_is_not_answered_and_does_no_harm(tmp_path: Path) -> None:
    """Not JSON, not an object, nothing at all, or too much: the next one is answered as ever."""
    with run(written(tmp_path, IDLE), tmp_path) as process:
        pid = watched_pid(process.pid, wait_s=20)
        for question in (b"\xff\xfe\n", b"[1]\n", b"", b"x" * 100_000):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(socket_path(pid)))
                try:
                    connection.sendall(question)
                    connection.shutdown(socket.SHUT_WR)
                    assert connection.recv(100) == b""
                except (BrokenPipeError, ConnectionResetError):
                    continue
        assert ask(pid, "ping") == "here"


def test_a_process_that_is_not_watched_is_said_to_be_so() -> None:
    """And so is one that does not exist, or has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with pytest.raises(
            NotWatchedError,
            match=r"is not watched; start it by `spanloom run`, or call spanloom\.diagnosis\.watch\.watch\(\)",
        ):
            watched_pid(process.pid, wait_s=0.1)
        process.kill()
    with pytest.raises(NotWatchedError, match="there is no such process"):
        watched_pid(process.pid, wait_s=0.1)


def test_a_launcher_stands_for_the_process_that_it_has_started(tmp_path: Path) -> None:
    """The id of a shell is as good as that of the program it runs."""
    path = written(tmp_path, IDLE)
    command = f"{sys.executable} -m spanloom run {path}; true"
    with subprocess.Popen(
        ["sh", "-c", command], cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL
    ) as shell:
        try:
            assert watched_pid(shell.pid, wait_s=20) != shell.pid
        finally:
            os.killpg(shell.pid, signal.SIGKILL)


def test_nothing_is_left_behind_at_the_end(tmp_path: Path) -> None:
    """Neither the socket nor the file for the stacks, only where the record is; the exit code is the program's."""
    path = written(tmp_path, "import os, sys; print(os.getpid()); sys.exit(7)")
    done = subprocess.run(
        [*SPANLOOM, "run", str(path)],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert done.returncode == 7
    assert [left.suffix for left in folder().glob(f"{done.stdout.strip()}.*")] == [".record"]


def test_a_program_finds_no_thread_of_ours(tmp_path: Path) -> None:
    """What `threading` counts, and the handlers of the signals that a program may use, are as without us."""
    path = written(
        tmp_path,
        """
        import signal, threading
        names = sorted(thread.name for thread in threading.enumerate())
        print([name for name in names if not name.startswith("spanloom-Record")])
        print([signal.getsignal(one) for one in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)])
        """,
    )
    runs = [
        subprocess.run(
            [*command, str(path)], cwd=tmp_path, capture_output=True, check=True, timeout=60
        ).stdout
        for command in ([sys.executable], [*SPANLOOM, "run"])
    ]
    assert runs[0] == runs[1]


def test_a_loop_is_not_woken_by_being_watched(tmp_path: Path) -> None:
    """A future that was set from the wrong thread stays unnoticed, as it does without us."""
    path = written(
        tmp_path,
        """
        import asyncio, threading, time
        async def main():
            future = asyncio.get_running_loop().create_future()
            def answer():
                time.sleep(0.3)
                future.set_result(1)
                print("set", flush=True)
            threading.Thread(target=answer).start()
            await future
            print("woken", flush=True)
        asyncio.run(main())
        """,
    )
    with run(path, tmp_path) as process:
        assert until(lambda: "set" in output(path))
        ask(process.pid, "why")
        time.sleep(1)
        assert "woken" not in output(path)


@pytest.mark.slow
def test_a_forked_child_is_watched_and_so_is_its_parent(tmp_path: Path) -> None:
    """Each answers for itself: the parent is healthy, the child is blocked."""
    path = written(
        tmp_path,
        """
        import asyncio, os, time
        async def tick():
            while True:
                await asyncio.sleep(0.05)
        async def block():
            time.sleep(100)
        async def main(first):
            await asyncio.gather(tick(), first())
        if os.fork():
            asyncio.run(main(tick))
        else:
            print(os.getpid(), flush=True)
            asyncio.run(main(block))
        """,
    )
    with run(path, tmp_path) as process:
        assert until(lambda: output(path).strip())
        child = int(output(path).split()[-1])
        assert [found["code"] for found in findings_of(child)] == ["LOOP_BLOCKED"]
        assert findings_of(process.pid, within_s=0) == []


@pytest.mark.slow
def test_a_program_that_closes_all_descriptors_is_left_alone(tmp_path: Path) -> None:
    """Whatever it opens under the same numbers is its own; and it can be asked again before long."""
    path = written(
        tmp_path,
        """
        import os, socket, time
        os.closerange(3, 300)
        servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(250)]
        clients = [socket.create_connection(server.getsockname()) for server in servers]
        time.sleep(1)
        for server in servers:
            server.settimeout(5)
            server.accept()
        print("accepted", flush=True)
        time.sleep(100)
        """,
    )
    with run(path, tmp_path) as process:
        assert until(lambda: "accepted" in output(path))
        assert until(lambda: socket_path(process.pid).exists())
        assert ask(process.pid, "ping") == "here"


FORKS = """
    import os, sys, threading
    if len(sys.argv) > 1:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    for _ in range(2):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    print("forked")
    """


def test_a_program_is_not_warned_of_threads_that_it_has_not_started(tmp_path: Path) -> None:
    """Python 3.12 and newer warn who forks with threads around; of his own he is still warned."""
    path = written(tmp_path, FORKS)
    warns = sys.version_info >= (3, 12)
    for arguments, warned in (([], False), (["with a thread of its own"], warns)):
        done = subprocess.run(
            [*SPANLOOM, "run", "--file", str(tmp_path / "forks.db"), str(path), *arguments],
            env={**os.environ, "PYTHONWARNINGS": "always::DeprecationWarning"},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.returncode) == ("forked\n", 0)
        assert done.stderr.count("multi-threaded") == (2 if warned else 0)


LEAKS = """
    import asyncio, os, resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    async def main():
        lock = asyncio.Lock()
        async def take():
            async with lock, lock:
                pass
        taker = asyncio.create_task(take(), name="taker")
        leaked = []
        try:
            while True:
                leaked.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            print("none left", flush=True)
        await taker
    asyncio.run(main())
    """


@pytest.mark.slow
def test_a_process_without_descriptors_is_asked_all_the_same(tmp_path: Path) -> None:
    """Some are kept for that; and afterwards they are kept for the next time."""
    path = written(tmp_path, LEAKS)
    with run(path, tmp_path) as process:
        assert until(lambda: "none left" in output(path))
        for _ in range(2):
            assert [found["code"] for found in findings_of(process.pid)] == ["SELF_RELOCK"]


def test_what_killed_processes_have_left_is_looked_for_once_an_hour() -> None:
    """Not at every start: on a machine that starts many programs there are thousands of files in the folder."""
    made_folder()
    left = socket_path(2**22 + 1)  # more than the number of any process may be
    mark = folder() / "tidied"
    left.touch()
    mark.touch()
    Endpoint({}).close()
    assert left.exists()
    os.utime(mark, (time.time() - LOOKED_THROUGH_S - 1,) * 2)
    Endpoint({}).close()
    assert not left.exists()


def test_where_no_connection_can_be_made_nobody_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits could be seen again and again, without a pause."""
    endpoint = Endpoint({})
    try:
        assert not endpoint.is_deaf
        endpoint.serve()  # nobody is there
        assert not endpoint.is_deaf
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.connect(str(endpoint.path))
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                endpoint.serve()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert endpoint.is_deaf
        monkeypatch.setattr(endpoint, "_deaf_until_s", 0.0)
        endpoint.serve()
        assert not endpoint.is_deaf
    finally:
        endpoint.close()


@pytest.mark.slow
def test_a_killed_run_still_says_what_it_was_stuck_at(tmp_path: Path) -> None:
    """The snapshots that a stuck process writes are in its record: `why last`, and a page, have its verdict then."""
    path = written(
        tmp_path,
        """
        import asyncio
        async def main():
            lock = asyncio.Lock()
            async def take():
                async with lock:
                    await again()
            async def again():
                async with lock:
                    pass
            await asyncio.create_task(take(), name="taker")
        asyncio.run(main())
        """,
    )
    with run(path, tmp_path):
        assert until(lambda: is_written(tmp_path / "program.db"))
    found = recorded(tmp_path)
    assert [one["code"] for one in found] == ["SELF_RELOCK"]
    assert "taker" in found[0]["message"]
    page = tmp_path / "run.html"
    export = ["export", "last", "--output", str(page), "--file", str(tmp_path / "program.db")]
    subprocess.run([*SPANLOOM, *export], check=True, timeout=60)
    described = re.search(r'id="description">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert described is not None
    first = json.loads(described[1])["sections"][0]
    assert first["id"] == "why"
    keys = ("code", "level", "message", "location")
    assert first["rows"] == [[one[key] for key in keys] for one in found]


def test_a_run_that_died_before_anything_was_written_down_is_said_to_have(tmp_path: Path) -> None:
    """That nothing was found then does not mean that nothing was wrong."""
    path = written(tmp_path, IDLE)
    with run(path, tmp_path):
        assert until(lambda: "ready" in output(path))
        assert until((tmp_path / "program.db").exists)
        time.sleep(0.5)  # the record is written ten times a second
    why = [*SPANLOOM, "why", "last", "--file", str(tmp_path / "program.db")]
    said = subprocess.run(why, capture_output=True, encoding="utf-8", timeout=60, check=True).stdout
    assert said.startswith("its process died before it had written down that anything is wrong")
    assert recorded(tmp_path) == []


@pytest.mark.slow
def test_a_batch_that_stands_still_is_logged_with_the_reason(tmp_path: Path) -> None:
    """Once for a while, and as a point event under the batch, which the program's own handlers get."""
    path = written(
        tmp_path,
        """
        import asyncio
        from spanloom import CallbackManager, run_jobs, use_callback_manager
        class Listener:
            wants = frozenset({"stall"})
            def on_event(self, event):
                code = event.payload["findings"][0]["code"]
                print("stall", event.name, event.parent_id is not None, code, flush=True)
        async def job(lock):
            async with lock:
                async with lock:
                    pass
        async def main():
            with use_callback_manager(CallbackManager([Listener()])):
                await run_jobs([job(asyncio.Lock())], desc="orders")
        asyncio.run(main())
        """,
    )
    with run(path, tmp_path, "--stall-after", "1"):
        assert until(lambda: "stall orders True SELF_RELOCK" in output(path))
        assert "batch orders has stood still for" in output(path)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM", "cancel"])
def test_a_batch_that_was_given_up_has_its_reason_in_the_record(end: str, tmp_path: Path) -> None:
    """Ctrl-C is what people do first when nothing moves, and then they ask why; one that went on has none."""
    path = written(
        tmp_path,
        """
        import asyncio, os
        from spanloom import run_jobs
        async def late(event):
            await event.wait()
        async def job(lock):
            async with lock:
                async with lock:
                    pass
        async def main():
            event = asyncio.Event()
            asyncio.get_running_loop().call_later(2.5, event.set)
            await run_jobs([late(event)], desc="went on")
            batch = asyncio.create_task(run_jobs([job(asyncio.Lock())], desc="orders"))
            while not os.path.exists("go"):
                await asyncio.wait([batch], timeout=0.05 if os.environ["END"] == "cancel" else None)
            batch.cancel()
            await asyncio.wait([batch])
        asyncio.run(main())
        """,
    )
    with run(path, tmp_path, "--stall-after", "1", END=end) as process:
        assert until(lambda: "batch orders has stood still for" in output(path))
        time.sleep(1)  # the record is written ten times a second
        if end == "cancel":
            (tmp_path / "go").touch()
        else:
            process.send_signal(getattr(signal, end))
        process.wait(30)
    assert [one["code"] for one in recorded(tmp_path)] == ["SELF_RELOCK"]


@pytest.mark.slow
def test_servers_that_nobody_calls_do_not_stand_still(tmp_path: Path) -> None:
    """A `gather` of them is no batch of which anybody waits for the end; one that is stuck, for a reason, is told."""
    path = written(
        tmp_path,
        """
        import asyncio
        async def serve():
            server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
            await server.serve_forever()
        async def lock_twice(lock):
            await asyncio.sleep(4)
            async with lock:
                async with lock:
                    pass
        async def stuck():
            lock = asyncio.Lock()
            await asyncio.gather(*(lock_twice(lock) for _ in range(2)))
        async def main():
            await asyncio.gather(serve(), serve(), stuck())
        asyncio.run(main())
        """,
    )
    with run(path, tmp_path, "--stall-after", "1"):
        assert until(lambda: "lock" in output(path))
        said = output(path).splitlines()
    assert "has stood still for" in said[0]
    assert "Why cannot be seen" not in "".join(said)


@pytest.mark.slow
def test_a_signal_has_the_verdict_written_to_standard_error(tmp_path: Path) -> None:
    """With the stacks of all threads, while the loop is blocked, and the program goes on."""
    path = written(
        tmp_path,
        """
        import asyncio, time
        def block():
            print("blocked", flush=True)
            time.sleep(100)
        async def main():
            asyncio.get_running_loop().call_later(0.1, block)
            await asyncio.sleep(100)
        asyncio.run(main())
        """,
    )
    with run(path, tmp_path, "--dump-signal", "USR1") as process:
        assert until(lambda: "blocked" in output(path))
        assert findings_of(process.pid)
        process.send_signal(signal.SIGUSR1)
        assert until(lambda: "most recent call first" in output(path))
        assert "LOOP_BLOCKED (PROVEN): callback block() has kept the event loop's thread" in output(path)
        assert process.poll() is None


@pytest.mark.slow
def test_signals_do_no_harm_to_a_program_that_is_busy(tmp_path: Path) -> None:
    """Its threads change their stacks all the time: reading those from outside ended one of a hundred such programs."""
    path = written(
        tmp_path,
        """
        import sys, threading
        def dig(depth):
            return depth and dig(depth - 1)
        def work():
            while True:
                dig(200)
        for _ in range(2):
            threading.Thread(target=work, daemon=True).start()
        print("busy", flush=True)
        work()
        """,
    )
    with run(path, tmp_path, "--dump-signal", "USR1") as process:
        assert until(lambda: "busy" in output(path))
        for _ in range(500):
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.004)  # the last one has been dealt with; one that comes on top of it is not counted
        assert until(lambda: output(path).count("most recent call first") > 3)
        assert process.poll() is None


@pytest.mark.parametrize("name", ["KILL", "NONSENSE"])
def test_a_signal_that_cannot_be_handled_is_refused(name: str, tmp_path: Path) -> None:
    """Before the program runs, and with a hint."""
    path = written(tmp_path, "print('ran')")
    done = subprocess.run(
        [*SPANLOOM, "run", "--dump-signal", name, str(path)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not a signal that can be handled" in done.stderr


def test_a_stopped_process_is_said_to_be_stopped(tmp_path: Path) -> None:
    """Who asks a process that a signal has stopped is told so within seconds, and is answered when it goes on."""
    with run(written(tmp_path, IDLE), tmp_path) as process:
        pid = watched_pid(process.pid, wait_s=20)
        assert until(lambda: "ready" in output(tmp_path / "program.py"))
        os.kill(pid, signal.SIGSTOP)
        asked = [*SPANLOOM, "why", str(pid), "--json"]
        stopped = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
        os.kill(pid, signal.SIGCONT)
        assert stopped.returncode == 1
        assert stopped.stdout == ""
        assert stopped.stderr.startswith(f"Error: process {pid} is stopped, by a signal or a debugger")
        answered = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30)
        assert isinstance(json.loads(answered.stdout), list)


def test_a_signal_that_is_asked_for_twice_is_handled_once() -> None:
    """Whoever changes `stall_after` of a program that is watched, and gives the signal again, gets one report of it."""
    run_program(
        textwrap.dedent("""
        import os, signal
        from spanloom.diagnosis.watch.dump import Dump
        from spanloom.diagnosis.watch.process import watch

        def dumps():
            return [one for one in watcher.observers if isinstance(one, Dump)]

        watcher = watch(dump_signal=signal.SIGUSR1)
        (first,) = dumps()
        opened = len(os.listdir("/dev/fd"))
        assert watch(stall_after=5, dump_signal=signal.SIGUSR1) is watcher
        assert dumps() == [first]
        assert len(os.listdir("/dev/fd")) == opened
        watch(dump_signal=signal.SIGUSR2)
        assert [one.signal_number for one in dumps()] == [signal.SIGUSR1, signal.SIGUSR2]
    """)
    )
