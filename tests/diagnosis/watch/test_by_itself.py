"""Programs that nobody watches, under a plain Python: what is said when a batch of theirs stands still."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.environments import run_program, without_ours

HEAD = """
import asyncio, logging, os, sys, threading, time
import spanloom
from spanloom import _wiring
from spanloom.callbacks import watchdog
from spanloom.callbacks.watchdog import WATCHDOG
from spanloom.handlers.record import RecordHandler

_wiring.STALL_AFTER_S = 1.5  # in place of 30 s
watchdog.LONG_S = watchdog.STEP_S = 0.3
said = []

class Log(logging.Handler):
    def emit(self, record):
        said.append((record.name, record.levelname, record.getMessage()))

logging.getLogger("spanloom").addHandler(Log())

class Listener:
    wants = frozenset({"stall"})
    def __init__(self):
        self.heard = []
    def on_event(self, event):
        codes = [finding["code"] for finding in event.payload["findings"]]
        self.heard.append((event.name, event.parent_id is not None, codes))

listener = Listener()
spanloom.get_callback_manager().add_handler(listener)

async def until(condition):
    while not condition():
        await asyncio.sleep(0.05)

async def given_up(batch):
    batch.cancel()
    await asyncio.wait([batch])

async def twice(lock):
    async with lock:
        async with lock:
            pass

async def ever():
    await asyncio.Event().wait()

def run(main):
    if KIND == "uvloop":
        import uvloop
        uvloop.run(main)
    else:
        asyncio.run(main)
"""

LOOPS = pytest.mark.parametrize("kind", ["asyncio", "uvloop"])


def run_on(kind: str, program: str, **variables: str) -> list[str]:
    """Run a program on a loop of that kind; return what it has printed."""
    done = run_program(f"KIND = {kind!r}\n{HEAD}\n{textwrap.dedent(program)}", **variables)
    return done.stdout.splitlines()


@LOOPS
def test_a_batch_that_stands_still_is_reported(kind: str, tmp_path: Path) -> None:
    """With the reason: to the log, to the program's handlers, and to its record; and then nothing of it is left."""
    program = """
        async def main():
            spanloom.get_callback_manager().add_handler(RecordHandler())
            batch = asyncio.create_task(spanloom.run_jobs([twice(asyncio.Lock())], desc="payments"))
            await until(lambda: said and listener.heard)
            await given_up(batch)
            from spanloom.diagnosis.watch import current
            await until(lambda: current() is None and WATCHDOG._ident is None)
            print(sys.modules["spanloom.diagnosis.watched"].WATCHED)
        run(main())
        (name, level, message), = said
        print(name, level, message)
        print(listener.heard)
    """
    file = tmp_path / "runs.db"
    nobody, logged, heard = run_on(kind, program, SPANLOOM_RECORD=str(file))
    assert nobody == "[]"
    assert logged.startswith("spanloom.diagnosis WARNING batch payments has stood still for ")
    assert "such a lock cannot be taken twice" in logged
    assert heard == "[('payments', True, ['SELF_RELOCK'])]"
    done = subprocess.run(
        [sys.executable, "-m", "spanloom", "why", "last", "--json", "--file", str(file)],
        env=without_ours(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert [finding["code"] for finding in json.loads(done.stdout)] == ["SELF_RELOCK"]


@LOOPS
def test_a_loop_that_is_blocked_is_seen_from_outside(kind: str) -> None:
    """The timer has fired by then; what blocks it is said while it does."""
    program = """
        async def block():
            await asyncio.sleep(0.7)
            while not said:
                time.sleep(0.1)
        run(spanloom.run_jobs([block()]))
        print(said[0][2])
    """
    (line,) = run_on(kind, program)
    assert "has kept the event loop's thread" in line


@LOOPS
@pytest.mark.parametrize(
    "runner", ["async_map(twice, [lock])", "batch_gather([twice(lock)])", "gather(twice(lock))"]
)
def test_every_runner_is_looked_after(runner: str, kind: str) -> None:
    """Whatever it is called by."""
    program = f"""
        async def main():
            lock = asyncio.Lock()
            batch = asyncio.create_task(spanloom.{runner})
            await until(lambda: listener.heard)
            await given_up(batch)
        run(main())
        print(listener.heard)
    """
    assert run_on(kind, program) == ["[('twice', True, ['SELF_RELOCK'])]"]


@LOOPS
def test_of_batches_inside_of_each_other_the_innermost_is_told(kind: str) -> None:
    """And none, as long as something moves there: the outer one has not stood still."""
    program = """
        async def inner():
            await spanloom.run_jobs((asyncio.sleep(0.1) for _ in range(30)), workers=1, desc="moving")
            print(listener.heard)
            await spanloom.run_jobs([twice(asyncio.Lock())], desc="stuck")
        async def main():
            batch = asyncio.create_task(spanloom.run_jobs([inner()], desc="outer"))
            await until(lambda: listener.heard)
            await asyncio.sleep(1.5)
            await given_up(batch)
        run(main())
        print(set(map(str, listener.heard)))  # on a busy machine, it may be told once more in that time
    """
    assert run_on(kind, program) == ["[]", """{"('stuck', True, ['SELF_RELOCK'])"}"""]


@LOOPS
def test_loops_in_other_threads_are_looked_after(kind: str) -> None:
    """One that is stuck beside one that works."""
    program = """
        over = threading.Event()
        async def stuck():
            batch = asyncio.create_task(spanloom.run_jobs([twice(asyncio.Lock())], desc="stuck"))
            await until(lambda: listener.heard)
            await given_up(batch)
            over.set()
        async def main():
            jobs = (asyncio.sleep(0.1) for _ in range(1_000))
            async with spanloom.stream(jobs, limit=2, desc="moving") as outcomes:
                async for _ in outcomes:
                    if over.is_set():
                        break
        thread = threading.Thread(target=run, args=[stuck()])
        thread.start()
        run(main())
        thread.join()
        print(listener.heard)
    """
    assert run_on(kind, program) == ["[('stuck', True, ['SELF_RELOCK'])]"]


@LOOPS
def test_a_batch_may_have_a_stall_time_of_its_own(kind: str) -> None:
    """A number, also where the environment says never; or never, where that says nothing."""
    program = """
        async def main():
            never = asyncio.create_task(spanloom.run_jobs([ever()], desc="never", stall_after=None))
            usual = asyncio.create_task(spanloom.run_jobs([ever()], desc="usual"))
            soon = asyncio.create_task(spanloom.run_jobs([ever()], desc="soon", stall_after=1))
            await until(lambda: len(said) == 2)
            for batch in (never, usual, soon):
                await given_up(batch)
        run(main())
        print([name for name, _, _ in listener.heard])
    """
    assert run_on(kind, program.replace("== 2", ">= 1"), SPANLOOM_STALL_AFTER="0") == ["['soon']"]
    (heard,) = run_on(kind, program)
    assert sorted(json.loads(heard.replace("'", '"'))) == ["soon", "usual"]


@LOOPS
def test_the_timer_is_nobody_who_could_wake_a_task(kind: str) -> None:
    """Neither it nor the thread is taken for one by a look: who waits for what nobody sets is told so."""
    program = """
        async def wait(event):
            await event.wait()
        async def main():
            async def batches():
                event = asyncio.Event()
                await spanloom.run_jobs([wait(event)])
            batch = asyncio.create_task(batches())
            await asyncio.sleep(0.1)
            assert WATCHDOG._ident is None
            for _ in range(2):
                found = await asyncio.to_thread(spanloom.why)
                print(*[(finding.code, finding.level) for finding in found], flush=True)
                await until(lambda: WATCHDOG._ident is not None)
                await asyncio.sleep(0.1)
            os._exit(0)  # who could cancel the batch could wake it
        run(main())
    """
    with_timer, with_thread = run_on(kind, program)
    assert with_timer == with_thread
    assert with_timer.startswith("('EVENT_NEVER_SET', ")


def test_a_child_of_a_fork_is_not_watched_in_its_parents_place() -> None:
    """While the diagnosis watches, a fork finds no thread of it; the parent's report comes all the same."""
    program = """
        def threads():
            return len(os.listdir("/proc/self/task"))
        async def main():
            batch = asyncio.create_task(spanloom.run_jobs([ever()], desc="stuck"))
            await until(lambda: threads() == 3)
            pid = os.fork()
            if not pid:
                from spanloom.diagnosis.watch import current
                watched = sys.modules["spanloom.diagnosis.watched"].WATCHED
                os._exit(int(threads() != 1 or current() is not None or bool(watched)))
            print(os.waitpid(pid, 0)[1])
            await until(lambda: said)
            await given_up(batch)
        asyncio.run(main())
        print([name for name, _, _ in listener.heard])
    """
    if sys.platform != "linux":
        pytest.skip("threads that `threading` does not know are in /proc")
    assert run_on("asyncio", program) == ["0", "['stuck']"]


@LOOPS
def test_who_asks_for_a_watcher_keeps_it(kind: str) -> None:
    """The one that is there already goes on when the batch has ended."""
    program = """
        async def main():
            from spanloom.diagnosis.watch import current, watch
            batch = asyncio.create_task(spanloom.run_jobs([ever()], desc="stuck"))
            await until(lambda: current() is not None)
            there = current()
            assert watch(stall_after=1.0) is there
            await until(lambda: listener.heard)
            await given_up(batch)
            await until(lambda: WATCHDOG._ident is None)
            print(current() is there, there.ident is not None)
        run(main())
    """
    assert run_on(kind, program) == ["True True"]
