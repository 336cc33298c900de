"""The watchdog: what a batch pays for it, when there is a thread, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import sys
import textwrap
import time
import weakref
from collections.abc import Callable

import pytest

from spanloom import CallbackManager, run_jobs, use_callback_manager
from spanloom.callbacks.standing import Standing
from spanloom.callbacks.watchdog import FEW, WATCHDOG, LoopTimer, Watchdog
from spanloom.testing import VirtualClockLoop
from tests.environments import run_program

HEAD = """
import asyncio, gc, os, sys, threading, time, warnings
import spanloom
from spanloom import _wiring
from spanloom.callbacks import watchdog
from spanloom.callbacks.watchdog import WATCHDOG

watchdog.LONG_S = watchdog.STEP_S = 0.2

def threads():
    return len(os.listdir("/proc/self/task"))

def is_imported():
    return "spanloom.diagnosis.watch" in sys.modules

async def until(condition):
    while not condition():
        await asyncio.sleep(0.05)

async def ever():
    await asyncio.Event().wait()

async def given_up(batch):
    batch.cancel()
    await asyncio.wait([batch])

def run(main):
    if KIND == "uvloop":
        import uvloop
        uvloop.run(main)
    else:
        asyncio.run(main)
"""

LOOPS = pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="threads that `threading` does not know are in /proc"
)


def run_on(kind: str, program: str, **variables: str) -> list[str]:
    """Run a program on a loop of that kind; return what it has printed."""
    done = run_program(f"KIND = {kind!r}\n{HEAD}\n{textwrap.dedent(program)}", **variables)
    return done.stdout.splitlines()


def timers(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    """Return the timers that a loop has before it."""
    scheduled: list[asyncio.TimerHandle] = loop._scheduled  # type: ignore[attr-defined] # there is no other way
    return [handle for handle in scheduled if not handle.cancelled()]


@pytest.fixture
def needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog is needed, also where another test has had this process watched."""
    monkeypatch.setattr(WATCHDOG, "is_needed", True)
    monkeypatch.setattr(WATCHDOG, "_is_relieved", False)


async def ever() -> None:
    """Wait for what does not come."""
    await asyncio.Event().wait()


@pytest.mark.usefixtures("needed")
def test_one_timer_of_the_loop_while_batches_are_open() -> None:
    """However many there are; it is gone when the last one ends, also by a cancel."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        batches = [asyncio.create_task(run_jobs([ever()])) for _ in range(3)]
        await asyncio.sleep(0)
        assert len(timers(loop)) == 1
        for batch in batches:
            assert len(timers(loop)) == 1
            batch.cancel()
            await asyncio.wait([batch])
        assert timers(loop) == []

    asyncio.run(main())


@pytest.mark.usefixtures("needed")
def test_where_batches_follow_each_other_quickly_one_timer_serves_all() -> None:
    """To set and cancel it each time would cost more; it is over within a second, and is not set again."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(FEW + 3):
            await run_jobs([asyncio.sleep(0)])
            assert len(timers(loop)) == (0 if number < FEW else 1)
        (timer,) = timers(loop)
        while timers(loop):
            await asyncio.sleep(0.05)
        assert not timer.cancelled()
        await run_jobs([asyncio.sleep(0)])
        assert timers(loop) == []

    asyncio.run(main())


@pytest.mark.usefixtures("needed")
def test_a_loop_whose_time_is_not_the_machines_gets_no_timer() -> None:
    """A virtual clock would jump to it."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        batch = asyncio.create_task(run_jobs([ever()]))
        await asyncio.sleep(0)
        assert timers(loop) == []
        batch.cancel()
        await asyncio.wait([batch])
        return loop.time()

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        assert runner.run(main()) == 0


@pytest.mark.usefixtures("needed")
def test_a_loop_that_jumps_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that begins with the machine's time and goes on faster is found out when the timer fires."""
    started: list[None] = []
    monkeypatch.setattr(WATCHDOG, "start", lambda: started.append(None))

    class Jumping(VirtualClockLoop):
        def time(self) -> float:
            return began_s + super().time()

    began_s = time.monotonic()

    async def main() -> None:
        batch = asyncio.create_task(run_jobs([ever()]))
        await asyncio.sleep(5)
        batch.cancel()
        await asyncio.wait([batch])

    with asyncio.Runner(loop_factory=Jumping) as runner:
        runner.run(main())
    assert started == []


@pytest.mark.usefixtures("needed")
def test_a_loop_that_is_closed_with_a_batch_in_it_is_not_kept() -> None:
    """Neither by its timer nor by what is known of it."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(run_jobs([ever()]))
    loop.run_until_complete(asyncio.sleep(0))
    key = id(loop)
    known = WATCHDOG._timers[key]  # what is to be forgotten
    assert known.open == 1
    task._log_destroy_pending = False  # type: ignore[attr-defined] # it is meant to be
    loop.close()
    gone = weakref.ref(loop)
    del task, loop
    gc.collect()
    assert gone() is None
    assert key not in WATCHDOG._timers  # as above
    assert known.open == 0


def test_a_loop_of_any_kind_will_do() -> None:
    """One to which there are no weak references, and one that has no timers, runs batches as before."""

    class Bare:
        __slots__ = ()

        def time(self) -> float:
            raise NotImplementedError

    assert WATCHDOG._meet(Bare()) is None  # type: ignore[arg-type] # there is no such loop to run one on


def test_a_loop_without_timers_has_none() -> None:
    """What it raises when it is asked for one is not the batch's."""

    class Poor:
        def time(self) -> float:
            return time.monotonic()

        def call_later(self, *_: object) -> None:
            raise RuntimeError

    poor = Poor()
    timer = LoopTimer(poor, lambda _: None)  # type: ignore[arg-type] # as little of one as will do
    timer.open += 1
    timer.set(poor)  # type: ignore[arg-type] # as above
    timer.leave()
    assert timer.open == 0


async def test_that_the_diagnosis_cannot_be_loaded_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A process has no file descriptors left, for one; it is tried again, and ended when everything moves."""
    begun: list[float | None] = []

    def begin(_: Standing, stall_after: float | None) -> Callable[[], object]:
        begun.append(stall_after)
        if len(begun) < 3:
            raise OSError(24, "Too many open files")
        return lambda: begun.append(None)

    watchdog = Watchdog()
    watchdog.wire(begin, lambda: 30.0)
    watchdog._usual_s = 30.0  # as `start` sets it
    gate = asyncio.Event()
    with use_callback_manager(CallbackManager()):
        batch = asyncio.create_task(run_jobs([gate.wait(), ever()]))
        await asyncio.sleep(0)
        for second in range(14):
            watchdog._look(1000.0 + second)
        assert begun == [30.0, 30.0, 30.0]
        gate.set()
        await asyncio.sleep(0.01)
        for second in range(14, 21):
            watchdog._look(1000.0 + second)
        assert begun == [30.0, 30.0, 30.0, None]
        batch.cancel()
        await asyncio.wait([batch])
    assert [record.message for record in caplog.records if record.name == "spanloom.diagnosis"] == [
        "a batch stands still, and what would say why cannot be loaded: OSError: [Errno 24] Too many open files"
    ]


@LINUX
@LOOPS
def test_a_short_program_has_no_thread_and_no_diagnosis(kind: str) -> None:
    """Nor a long one that is not needed, where the environment says never."""
    program = """
        async def main():
            for _ in range(50):
                await spanloom.run_jobs([asyncio.sleep(0) for _ in range(4)])
            await spanloom.run_jobs([asyncio.sleep(LONG)])
            print(threads(), is_imported())
        run(main())
    """
    assert run_on(kind, "LONG = 0\n" + textwrap.dedent(program)) == ["1 False"]
    assert run_on(kind, "LONG = 0.8\n" + textwrap.dedent(program), SPANLOOM_STALL_AFTER="0") == ["1 False"]


@LINUX
@LOOPS
def test_a_long_batch_has_a_thread_that_imports_nothing_and_goes_with_it(kind: str) -> None:
    """It looks whether jobs end, and they do: nothing is said, whatever the stall time is."""
    program = """
        _wiring.STALL_AFTER_S = 3.0
        async def main():
            jobs = (asyncio.sleep(0.1) for _ in range(45))
            batch = asyncio.create_task(spanloom.run_jobs(jobs, workers=1))
            await until(lambda: threads() == 2 or batch.done())
            print(threads(), threading.active_count())
            await batch
            await until(lambda: threads() == 1)
            print(threads(), is_imported())
        run(main())
    """
    assert run_on(kind, program) == ["2 1", "1 False"]


@LINUX
@LOOPS
def test_the_thread_comes_back_with_the_next_long_batch(kind: str) -> None:
    """In the same loop and in another one, in another thread."""
    program = """
        async def main():
            for _ in range(2):
                batch = asyncio.create_task(spanloom.run_jobs([ever()]))
                await until(lambda: threads() == before + 1)
                await given_up(batch)
                await until(lambda: threads() == before)
            print("came and went")
        before = 1
        run(main())
        before = 2
        thread = threading.Thread(target=run, args=[main()])
        thread.start()
        thread.join()
        while threads() > 1:
            time.sleep(0.01)
    """
    assert run_on(kind, program) == ["came and went", "came and went"]


@LINUX
def test_a_fork_finds_no_thread_and_the_parent_goes_on() -> None:
    """Nothing is warned of, and the child begins anew: no batch is open there, and its own are looked after."""
    program = """
        _wiring.STALL_AFTER_S = 600.0
        def child():
            assert threads() == 1
            assert not WATCHDOG._timers
            async def main():
                batch = asyncio.create_task(spanloom.run_jobs([ever()]))
                await until(lambda: threads() == 2)
                await given_up(batch)
                await until(lambda: threads() == 1)
            asyncio.run(main())
        def fork():
            pid = os.fork()
            if not pid:
                code = 1
                try:
                    child()
                    code = 0
                finally:
                    os._exit(code)
            return os.waitpid(pid, 0)[1]
        async def main():
            batch = asyncio.create_task(spanloom.run_jobs([ever()]))
            await until(lambda: threads() == 2)
            print(fork())
            await until(lambda: threads() == 2)
            await given_up(batch)
            await until(lambda: threads() == 1)
            print("over")
        run(main())
    """
    assert run_on("asyncio", program) == ["0", "over"]


@LINUX
@LOOPS
def test_who_has_the_process_watched_needs_no_watchdog(kind: str) -> None:
    """A batch sets no timer then, and the thread that runs already ends."""
    program = """
        from spanloom.diagnosis.watch import watch
        async def main():
            batch = asyncio.create_task(spanloom.run_jobs([ever()]))
            await until(lambda: threads() == 2)
            watch()
            await until(lambda: WATCHDOG._ident is None)
            print(threads(), WATCHDOG.is_needed)
            await given_up(batch)
        run(main())
    """
    assert run_on(kind, program) == ["2 False"]
