"""What is looked at is not asked: no code of the program is run by the watching thread."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib.util
import signal
import sys
import threading
import weakref
from collections.abc import Coroutine, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest

from spanloom.diagnosis import look
from spanloom.diagnosis.chain import code_of, link_of, links_of
from spanloom.diagnosis.functions import Functions
from spanloom.diagnosis.history.census import _own_code
from spanloom.diagnosis.history.company import Company, is_awaited
from spanloom.diagnosis.history.live import label_of
from spanloom.diagnosis.history.memory import Memory, _stands
from spanloom.diagnosis.history.sight import see
from spanloom.diagnosis.registry import LOOPS_ARE_HIDDEN
from spanloom.diagnosis.watch.atwork import _woken_by
from spanloom.diagnosis.watch.blocked import wakes_for
from spanloom.diagnosis.watch.children import pid_of
from spanloom.diagnosis.watch.locks import _holders
from spanloom.diagnosis.watch.needs import Needs, _coroutine_name
from spanloom.diagnosis.watch.pipes import _served_by
from spanloom.diagnosis.watch.progress import fingerprint
from spanloom.diagnosis.watch.pulse import Hold, Used, function_of
from spanloom.diagnosis.watch.reach import await_chain, knows_task
from spanloom.diagnosis.watch.spin import _chain
from spanloom.diagnosis.watch.threads import function_name, see_threads
from spanloom.diagnosis.watch.waiters import behind, has_deadline

ASKED: list[str] = []


class Touchy:
    """Says when it is asked for an attribute, its class, or whether it is true."""

    def __getattribute__(self, name: str) -> Any:
        ASKED.append(name)
        return object.__getattribute__(self, name)

    @property  # type: ignore[misc] # as lazy objects and mocks have it
    def __class__(self) -> Any:
        ASKED.append("__class__")
        return dict

    def __bool__(self) -> bool:
        ASKED.append("__bool__")
        return True

    def __eq__(self, other: object) -> bool:
        ASKED.append("__eq__")
        return False

    def __hash__(self) -> int:
        ASKED.append("__hash__")
        return 1

    def __repr__(self) -> str:
        ASKED.append("__repr__")
        return "Touchy"


class TouchyDict(dict[int, int]):
    """A dictionary that says when its length or what is in it is asked for."""

    def __len__(self) -> int:
        ASKED.append("__len__")
        return 0

    def __iter__(self) -> Iterator[int]:
        ASKED.append("__iter__")
        return iter(())


class TouchyCall(Touchy):
    """Can be called, as what hangs on a future or a timer can be, and has a method that waits."""

    def __call__(self, *_: object) -> None:
        ASKED.append("__call__")

    async def wait(self, event: asyncio.Event) -> None:
        await event.wait()


class TouchyCoroutine(Touchy, Coroutine[Any, Any, None]):
    """A coroutine of the program's own making around one of Python's."""

    def __init__(self, inner: Coroutine[Any, Any, None]) -> None:
        self.inner = inner

    def send(self, value: Any) -> Any:
        return self.inner.send(value)

    def throw(self, *args: Any) -> Any:
        return self.inner.throw(*args)

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self.inner.__await__()


@pytest.fixture
def asked() -> Iterator[list[str]]:
    ASKED.clear()
    yield ASKED
    ASKED.clear()


def test_no_object_of_the_program_is_asked_for_anything(asked: list[str]) -> None:
    """Neither who spins, nor who knows what, nor who holds a lock, nor a whole look runs a method of the program."""

    async def wait(event: asyncio.Event) -> None:
        held, table = Touchy(), TouchyDict({1: 2})
        callback = lambda: (held, table)  # noqa: E731 -- what a closure holds is looked at as well
        await event.wait()
        callback()

    async def main() -> None:
        event = asyncio.Event()
        task = asyncio.create_task(wait(event))
        await asyncio.sleep(0)
        asked.clear()
        things, _ = fingerprint(await_chain(task))
        assert things["0.table#"] == (1, frozenset({1}))
        assert not knows_task(task, object())
        assert list(_holders(task)) == []
        look()
        found = asked.copy()
        event.set()
        await task
        assert found == []

    asyncio.run(main())
    gc.collect()


def test_what_is_called_when_something_happens_is_asked_for_nothing(asked: list[str]) -> None:
    """Callbacks of futures, tasks, timers, signals and exit stacks are told apart by their types alone."""

    async def wait(future: asyncio.Future[None], stack: ExitStack) -> None:
        with stack:
            await future

    async def main() -> None:
        loop, call = asyncio.get_running_loop(), TouchyCall()
        future, shared, stack = loop.create_future(), Future[None](), ExitStack()
        stack.callback(call)
        stack.push(call)
        task = asyncio.create_task(wait(future, stack))
        method = asyncio.create_task(call.wait(asyncio.Event()))
        await asyncio.sleep(0)
        for one in (future, task, shared):
            one.add_done_callback(call)
        handles = [loop.call_soon(call), loop.call_later(3_600, call)]
        signal.signal(signal.SIGUSR2, call)
        needs = Needs(see_threads(0))
        asked.clear()
        look()
        assert not wakes_for(future, task)
        assert list(_woken_by(future)) == [task]
        assert needs.of_async(future) is needs.of_future(shared) is None
        assert not needs.awaits(task, shared)
        assert list(_holders(task)) == []
        assert behind([method], [task, method]) == {method}
        assert not has_deadline(task)
        assert _served_by(method.get_coro()) is pid_of(call) is None
        assert function_name(functools.partial(call)) == "TouchyCall"
        assert not is_awaited(method)
        assert not Company().is_joined(task)
        found = asked.copy()
        for handle in handles:
            handle.cancel()
        method.cancel()
        future.cancel()
        shared.cancel()
        await asyncio.wait([task, method])
        assert found == []

    before = signal.getsignal(signal.SIGUSR2)
    try:
        asyncio.run(main())
    finally:
        signal.signal(signal.SIGUSR2, before)
    gc.collect()


def test_a_coroutine_of_the_programs_own_class_is_asked_for_nothing(asked: list[str]) -> None:
    """Whether the task that runs it waits or has failed, and whoever looks, its code and frame are not asked for."""

    async def wait(event: asyncio.Event) -> None:
        await event.wait()

    async def fail() -> None:
        raise ValueError

    async def main() -> None:
        event = asyncio.Event()
        coroutine = TouchyCoroutine(wait(event))
        waiting = asyncio.Task(coroutine)
        failed = asyncio.Task(TouchyCoroutine(fail()))
        await asyncio.wait([failed])
        never = asyncio.create_task(asyncio.Event().wait())  # so that looks go into those that have ended
        await asyncio.sleep(0)
        asked.clear()
        assert code_of(coroutine) is link_of(coroutine) is function_of(waiting) is None
        assert _chain(waiting, threading.get_ident()) == await_chain(waiting)
        assert [link.owner for link in links_of(waiting)] == await_chain(waiting)
        assert _coroutine_name(coroutine) == "TouchyCoroutine"
        assert _own_code(waiting) in {
            None,
            wait.__code__,
        }  # whether what it is around can be seen depends on the version
        assert _stands(waiting) == _stands(waiting)
        assert [sight.key for sight in see([weakref.ref(waiting)])] == [id(waiting)]
        look()
        found = asked.copy()
        event.set()
        never.cancel()
        assert isinstance(failed.exception(), ValueError)
        await waiting
        assert found == []

    asyncio.run(main())
    gc.collect()


class TouchyTask(asyncio.Task[Any]):
    """A task that says when one of its own methods is called."""

    def get_name(self) -> str:
        ASKED.append("get_name")
        return super().get_name()

    def done(self) -> bool:
        ASKED.append("done")
        return super().done()

    def cancelling(self) -> int:
        ASKED.append("cancelling")
        return super().cancelling()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        ASKED.append("get_loop")
        return super().get_loop()


def test_no_method_of_a_tasks_own_class_is_called(asked: list[str]) -> None:
    """Neither by a look, nor by what is remembered between looks, nor by who notes what holds a loop."""

    async def wait(event: asyncio.Event) -> None:
        await event.wait()

    async def main() -> None:
        event = asyncio.Event()
        task = TouchyTask(wait(event), name="touchy")
        await asyncio.sleep(0)
        memory = Memory()
        asked.clear()
        try:
            for step in range(3):
                memory.step(memory.since + step * 10)
        finally:
            memory.stop()
        look()
        assert Hold(0.0, task, Used(0.0, 0.0)).task == label_of(task, "wait") == "touchy"
        assert [sight.key for sight in see([weakref.ref(task)])] == [id(task)]
        assert _stands(task) == _stands(task)
        # From Python 3.14 on nothing but `all_tasks` tells which tasks a loop has, and that asks them these two things.
        found = [one for one in asked if not (LOOPS_ARE_HIDDEN and one in ("done", "get_loop"))]
        event.set()
        await task
        assert found == []

    asyncio.run(main())


def test_a_module_is_asked_for_nothing(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is loaded when it is used is not loaded, and one that answers for names it has not is not called."""
    monkeypatch.delitem(sys.modules, "tests.waited", raising=False)  # another test may have it
    spec = importlib.util.find_spec("tests.waited")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    lazy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lazy)
    answering = ModuleType("answering")
    vars(answering)["__getattr__"] = asked.append

    async def wait(event: asyncio.Event, *modules: ModuleType) -> None:
        await event.wait()
        for module in modules:
            module.NAP_S  # noqa: B018 -- so that it is ahead

    async def main() -> None:
        event = asyncio.Event()
        task = asyncio.create_task(wait(event, lazy, answering))
        await asyncio.sleep(0)
        asked.clear()
        look()
        monkeypatch.setitem(sys.modules, "tests.waited", lazy)
        Functions([]).using(frozenset({"NAP_S"}))
        assert asked == []
        assert type(lazy) is not ModuleType  # which it is when it has been loaded
        event.set()
        await task
        assert asked == ["NAP_S"]
        assert type(lazy) is ModuleType

    asyncio.run(main())


def test_what_a_variable_held_lives_no_longer_because_it_was_looked_at() -> None:
    """However often a task is looked at, nothing keeps what a variable of it held until it held something else."""

    class Thing:
        pass

    async def hold(queue: asyncio.Queue[Thing]) -> None:
        while True:
            thing = await queue.get()  # noqa: F841 -- held until there is another

    async def main() -> None:
        queue: asyncio.Queue[Thing] = asyncio.Queue()
        task = asyncio.create_task(hold(queue))
        never = asyncio.create_task(asyncio.Event().wait())  # so that looks go into it
        queue.put_nowait(thing := Thing())
        reference = weakref.ref(thing)
        del thing
        await asyncio.sleep(0)
        for _ in range(3):
            look()
        queue.put_nowait(Thing())
        await asyncio.sleep(0.01)
        gc.collect()
        assert reference() is None
        task.cancel()
        never.cancel()

    asyncio.run(main())


def test_what_a_pool_has_worked_on_lives_no_longer_because_it_was_looked_at() -> None:
    """The frame of a thread of a pool lives as long as the pool; it has nothing of a job that is done."""

    class Work:
        def __init__(self) -> None:
            self.begun, self.gate = threading.Event(), threading.Event()

        def __call__(self) -> None:
            self.begun.set()
            self.gate.wait()

    with ThreadPoolExecutor(1) as pool:
        work = Work()
        future, done = pool.submit(work), weakref.ref(work)
        work.begun.wait()
        seen = see_threads(0)
        assert [one.threads for one in seen.pools.values()], "the pool has been found"
        work.gate.set()
        future.result()
        del work, future, seen
        pool.submit(int).result()  # the thread has let go of the one before when it takes the next
        gc.collect()
        assert done() is None


def test_what_a_program_has_from_locals_is_left_in_it() -> None:
    """Before Python 3.13 that is the dictionary in which the variables are read, and it is the program's."""

    async def work() -> dict[str, object]:
        number = 7
        kept = locals()
        await asyncio.sleep(0)
        assert number
        return kept

    async def main() -> dict[str, object]:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        assert fingerprint(await_chain(task))[1]
        return await task

    assert asyncio.run(main())["number"] == 7
