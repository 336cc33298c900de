"""What has to happen before a thread, a future or a task can go on, followed through all that waits in between.

``None`` means that it may go on by itself: something runs, or a timer is set. What is unknown counts as that.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
from asyncio.base_events import BaseEventLoop
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from types import CellType, FunctionType
from typing import Any, Final

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.chain import code_of
from spanloom.diagnosis.chained import sources
from spanloom.diagnosis.fields import (
    callbacks_of,
    closure_of,
    field,
    future_done,
    gathered,
    is_a,
    is_future,
    is_task,
)
from spanloom.diagnosis.population import runs_until
from spanloom.diagnosis.watch.callbacks import may_call
from spanloom.diagnosis.watch.pulse import function_of
from spanloom.diagnosis.watch.reach import await_chain, knows, knows_task
from spanloom.diagnosis.watch.threads import PoolNow, SyncWait, ThreadNow, Threads, item_name

__all__ = ["Need", "Needs"]

MAX_STEPS: Final = 2_000
_GIVING: Final = frozenset(
    {"set", "put", "put_nowait", "get", "get_nowait", "release", "notify", "notify_all", "wait"}
)


@dataclasses.dataclass(slots=True)
class Need:
    """What has to happen first, and cannot happen by itself.

    Attributes:
        loops: Ids of the loops that would have to run.
        pools: Keys of the pools that would have to take work from their queues.
        steps: The waits in between, in words, the nearest first.
        coroutine: Name of the function that a loop would have to run as a task or coroutine.
        queued: Names of the functions that would have to be taken from a queue.
    """

    loops: frozenset[int] = frozenset()
    pools: frozenset[int] = frozenset()
    steps: tuple[str, ...] = ()
    coroutine: str | None = None
    queued: tuple[str, ...] = ()

    def after(self, step: str) -> Need:
        """Return the same need with one more step in front."""
        return Need(self.loops, self.pools, (step, *self.steps), self.coroutine, self.queued)


def _both(needs: Iterable[Need]) -> Need:
    found = list(needs)
    first = found[0]
    return Need(
        frozenset().union(*(need.loops for need in found)),
        frozenset().union(*(need.pools for need in found)),
        first.steps,
        next((need.coroutine for need in found if need.coroutine), None),
        tuple(dict.fromkeys(name for need in found for name in need.queued)),
    )


@dataclasses.dataclass(slots=True)
class Needs:
    """Follows waits through threads, pools, futures and tasks.

    Args:
        seen: The threads, at one moment.
        stopped: The id of a loop that is known to be blocked; the search ends at whatever needs that loop.
        timed: Whether a wait with a timeout counts like any other; else it may go on by itself.
    """

    seen: Threads
    stopped: int | None = None
    timed: bool = False
    _path: set[int] = dataclasses.field(default_factory=set)
    _steps: int = 0

    def of_thread(self, thread: ThreadNow) -> Need | None:
        """Return what `thread` needs."""
        wait = thread.wait
        if thread.loop is not None and thread.loop.polls:
            loop = thread.loop.loop
            return self._once(thread.ident, lambda: self._of_main(loop))
        if wait is None or (wait.timed and not self.timed):
            return None
        return self._once(thread.ident, lambda: self.of_wait(wait))

    def _of_main(self, loop: asyncio.AbstractEventLoop) -> Need | None:
        """Return what the main task of a loop needs."""
        main = next((task for task in _tasks_of(loop) if runs_until(task)), None)
        return None if main is None else self.of_async(main)

    def _once(self, key: int, find: Any) -> Need | None:  # Any: a closure of the caller's
        self._steps += 1
        if key in self._path:
            return Need()  # a cycle: nothing else is needed
        if self._steps > MAX_STEPS:
            return None
        self._path.add(key)
        try:
            need: Need | None = find()
            return need
        finally:
            self._path.discard(key)

    def of_wait(self, wait: SyncWait) -> Need | None:
        """Return what a wait of a thread needs."""
        what = wait.what
        if wait.kind == "future":
            return self.of_future(what)
        if wait.kind == "futures":
            futures = [future for future in what if isinstance(future, Future) and not future.done()]
            needs = [self.of_future(future) for future in futures]
            known = [need for need in needs if need is not None]
            # If one of them can go on, it may be the one waited for.
            return _both(known) if known and len(known) == len(needs) else None
        if wait.kind == "thread":
            thread = self.seen.threads.get(what.ident or 0)
            need = None if thread is None else self.of_thread(thread)
            return None if need is None else need.after(f"thread {what.name}")
        if wait.kind in {"event", "condition", "semaphore", "barrier", "queue"}:
            return self._of_shared(what)
        return None

    def of_future(self, future: Future[Any]) -> Need | None:
        """Return what a future of ``concurrent.futures`` needs."""
        if future.done():
            return None
        for other in sources(list(field(future, "_done_callbacks", ()))):
            if is_future(other):
                return self.of_async(other)
        for thread in self.seen.threads.values():
            if thread.item is not None and field(thread.item, "future") is future:
                need = self.of_thread(thread)
                name = item_name(thread.item) or "its call"
                return None if need is None else need.after(f"{name}() in thread {thread.name}")
        for pool in self.seen.pools.values():
            for item in pool.queued:
                if item.future is future:
                    return self._of_pool(pool, item)
        return self._unscheduled(future)

    def _of_pool(self, pool: PoolNow, item: Any) -> Need | None:
        name = item_name(item) or "a call"
        here = Need(pools=frozenset({pool.key}), queued=(name,), steps=(f"{name}(), which is queued",))
        if -pool.key in self._path:
            return here
        self._path.add(-pool.key)
        try:
            needs = [self.of_thread(self.seen.threads[ident]) for ident in pool.threads]
        finally:
            self._path.discard(-pool.key)
        known = [need for need in needs if need is not None]
        if not needs or len(known) < len(needs):
            return None
        return _both([here, *known])

    def _unscheduled(self, future: Future[Any]) -> Need | None:
        """Return the need of a future of ``run_coroutine_threadsafe`` that has no task yet: a turn of its loop."""
        for loop, coroutine in _handed_over(future, self.seen):
            name = _coroutine_name(coroutine)
            if id(loop) == self.stopped:
                return Need(loops=frozenset({id(loop)}), coroutine=name, steps=(f"coroutine {name}",))
            thread = self.seen.of_loop(loop)
            if thread is not None and thread.loop is not None and not thread.loop.polls:
                need = self.of_thread(thread)
                return None if need is None else need.after(f"coroutine {name}")
        return None

    def of_async(self, future: Any) -> Need | None:
        """Return what a task, or a future of asyncio, needs."""
        if future.done():
            return None
        loop = future.get_loop()
        name = function_of(future) if isinstance(future, asyncio.Task) else None
        words = f"coroutine {name}" if name else "a future"
        if id(loop) == self.stopped:
            return Need(loops=frozenset({id(loop)}), coroutine=name, steps=(words,))
        thread = self.seen.of_loop(loop)
        if (
            thread is not None
            and thread.wait is not None
            and thread.loop is not None
            and not thread.loop.polls
        ):
            need = self.of_thread(thread)
            return None if need is None else need.after(f"{words} on the loop of thread {thread.name}")
        need = self._once(id(future), lambda: self._awaited(future))
        return None if need is None else need.after(words) if name else need

    def _awaited(self, future: asyncio.Future[Any]) -> Need | None:
        if is_task(future):
            waiter = field(future, "_fut_waiter")
            return None if waiter is None else self.of_async(waiter)
        children = gathered(future)
        if children is not None:
            for child in children:
                if not future_done(child):
                    need = self.of_async(child)
                    if need is not None:
                        return need
            return None
        for other in sources(callbacks_of(future)):
            if is_a(other, Future):
                return self.of_future(other)
        return None

    @staticmethod
    def awaits(task: asyncio.Task[Any], future: Future[Any]) -> bool:
        """Tell whether `task` awaits `future`, one of a pool."""
        return any(other is future for other in sources(callbacks_of(field(task, "_fut_waiter"))))

    def _of_shared(self, what: object) -> Need | None:
        """Return what all need who could end a wait for an event, a queue or the like."""
        needs: list[Need] = []
        for find in (self._queued_for, self._threads_for, self._tasks_for):
            for need in find(what):
                if need is None:
                    return None
                needs.append(need)
        return _both(needs) if needs else None

    def _queued_for(self, what: object) -> Iterator[Need | None]:
        for pool in self.seen.pools.values():
            items = [item for item in pool.queued if knows(item, what)]
            if items and -pool.key in self._path:
                names = tuple(item_name(item) or "a call" for item in items)
                yield Need(pools=frozenset({pool.key}), queued=names)
            elif items:
                yield self._of_pool(pool, items[0])

    def _threads_for(self, _: object) -> Iterator[Need | None]:
        """Yield what each thread needs: one that runs may do anything, even if it cannot reach the object yet."""
        for thread in self.seen.threads.values():
            if thread.ident not in self._path and not thread.idle and thread.loop is None:
                yield self.of_thread(thread)

    def _tasks_for(self, what: object) -> Iterator[Need | None]:
        for thread in self.seen.threads.values():
            now = thread.loop
            if now is None or thread.ident in self._path:
                continue
            if id(now.loop) == self.stopped:
                tasks = [task for task in _tasks_that_know(now.loop, what) if task is not now.task]
                for task in sorted(tasks, key=lambda task: not _gives(task)):
                    name = function_of(task)
                    yield Need(frozenset({id(now.loop)}), coroutine=name, steps=(f"coroutine {name}",))
                if not tasks and may_call(now.loop, what):
                    yield Need(frozenset({id(now.loop)}), steps=("a callback",))
            elif not now.polls:
                yield self.of_thread(thread)
            elif may_call(now.loop, what):
                yield None  # a timer, a socket or a signal may end it
            else:
                yield from (self.of_async(task) for task in _tasks_that_know(now.loop, what))


def _tasks_of(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    from spanloom.diagnosis.watch.blocked import tasks_of

    return [task for task in tasks_of(loop) if not future_done(task)]


def _tasks_that_know(loop: asyncio.AbstractEventLoop, what: object) -> Iterator[asyncio.Task[Any]]:
    return (task for task in _tasks_of(loop) if knows_task(task, what))


def _gives(task: asyncio.Task[Any]) -> bool:
    """Tell whether the code of a task names a method that ends somebody's wait."""
    codes = [code_of(part) for part in await_chain(task)]
    return any(code is not None and not _GIVING.isdisjoint(code.co_names) for code in codes)


def _handed_over(future: Future[Any], seen: Threads) -> Iterator[tuple[asyncio.AbstractEventLoop, object]]:
    """Yield the loop and the coroutine of a ``run_coroutine_threadsafe`` that the loop has not started yet."""
    for thread in seen.threads.values():
        if thread.loop is not None and is_a(thread.loop.loop, BaseEventLoop):
            for handle in list(field(thread.loop.loop, "_ready", ())):
                yield from _captured(field(handle, "_callback"), future)
    for cell in gc.get_referrers(future):
        if type(cell) is CellType:
            for function in gc.get_referrers(cell):
                for part in gc.get_referrers(function) if type(function) is tuple else ():
                    yield from _captured(part, future)


def _captured(callback: object, future: Future[Any]) -> Iterator[tuple[asyncio.AbstractEventLoop, object]]:
    if type(callback) is not FunctionType or callback.__module__ != "asyncio.tasks":
        return
    found = closure_of(callback)
    loop = found.get("loop")
    if found.get("future") is future and is_a(loop, asyncio.AbstractEventLoop):
        yield loop, found.get("coro")


def _coroutine_name(coroutine: object) -> str:
    name = field(coroutine, "__qualname__")
    return bare_name(name) if type(name) is str else type(coroutine).__name__
