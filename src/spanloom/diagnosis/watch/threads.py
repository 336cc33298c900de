"""What the threads of the process wait for, read from the frames of the standard library that they wait in.

Only of such frames are the variables read. Up to Python 3.12 that leaves a copy of them in the frame, which is harmless
in one that ends with the wait; in a function of the program it would keep objects alive.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.thread
import dataclasses
import functools
import gc
import multiprocessing.process
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import _base
from types import BuiltinMethodType, CodeType, FrameType, FunctionType, MethodType
from typing import Any, Final

from spanloom.concurrency import sync
from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.fields import field, module_of
from spanloom.diagnosis.variables import variables_of
from spanloom.diagnosis.watch.frames import Call, is_foreign, native_id, own_place, stack_of, thread_name
from spanloom.diagnosis.watch.loops import LoopNow, see_loops
from spanloom.diagnosis.watch.stacks import is_beating

__all__ = ["PoolNow", "SyncWait", "ThreadNow", "Threads", "function_name", "see_threads"]


@dataclasses.dataclass(slots=True)
class SyncWait:
    """What a thread waits for.

    Attributes:
        kind: ``"future"``, ``"futures"`` (one of them, or all), ``"thread"``, ``"pool"`` (its shutdown), ``"event"``,
            ``"condition"``, ``"semaphore"``, ``"barrier"``, ``"queue"`` or ``"child"`` (a process).
        what: The object waited for; ``None`` if there is none.
        timed: Whether the wait has a timeout.
        verb: The method called: ``"get"``, ``"wait"``, ...
    """

    kind: str
    what: Any  # Any: an object of the standard library, by its kind
    timed: bool
    verb: str


@dataclasses.dataclass(slots=True)
class ThreadNow:
    """One thread at one moment.

    Attributes:
        ident, name: Its id and name.
        stack: Its calls, innermost first.
        wait: What it waits for; ``None`` if it runs.
        loop: The loop that it runs, and where that is.
        item: The call that it runs for its pool.
        pool: The key of its pool.
        idle: Whether it waits for work from its pool.
        native_id: The system's id for it; ``None`` if `threading` does not know it.
    """

    ident: int
    name: str
    stack: tuple[Call, ...]
    wait: SyncWait | None = None
    loop: LoopNow | None = None
    item: Any = None  # Any: concurrent.futures' own _WorkItem
    pool: int | None = None
    idle: bool = False
    native_id: int | None = None

    @property
    def place(self) -> Call | None:
        """Where it is in the program's own code."""
        return own_place(self.stack)


@dataclasses.dataclass(slots=True)
class PoolNow:
    """One pool of threads.

    Attributes:
        key: Its identity.
        size: How many threads it may have.
        threads: Those it has.
        queued: The calls that no thread has taken yet.
        name: The prefix of its threads' names.
    """

    key: int
    size: int
    threads: list[int] = dataclasses.field(default_factory=list)
    queued: list[Any] = dataclasses.field(default_factory=list)  # Any: as above
    name: str = ""


@dataclasses.dataclass(slots=True)
class Threads:
    """All threads but those of spanloom, and their pools."""

    threads: dict[int, ThreadNow] = dataclasses.field(default_factory=dict)
    pools: dict[int, PoolNow] = dataclasses.field(default_factory=dict)

    def of_loop(self, loop: object) -> ThreadNow | None:
        """Return the thread that runs `loop`."""
        for thread in self.threads.values():
            if thread.loop is not None and thread.loop.loop is loop:
                return thread
        return None


def _code(function: Callable[..., Any]) -> CodeType:
    code: CodeType = function.__code__
    return code


# By code of the function: the kind of wait, the variable with the object, the one with the timeout, and the verb.
_WAITS: Final[dict[CodeType, tuple[str, str, str, str]]] = {
    _code(_base.Future.result): ("future", "self", "timeout", "result"),
    _code(_base.Future.exception): ("future", "self", "timeout", "exception"),
    _code(concurrent.futures.wait): ("futures", "fs", "timeout", "wait"),
    _code(concurrent.futures.as_completed): ("futures", "fs", "timeout", "as_completed"),
    _code(concurrent.futures.ThreadPoolExecutor.shutdown): ("pool", "self", "", "shutdown"),
    _code(threading.Thread.join): ("thread", "self", "timeout", "join"),
    _code(sync.run_in_thread): ("thread", "thread", "", "join"),  # it polls, to handle signals in between
    _code(threading.Event.wait): ("event", "self", "timeout", "wait"),
    _code(threading.Condition.wait): ("condition", "self", "timeout", "wait"),
    _code(threading.Condition.wait_for): ("condition", "self", "timeout", "wait_for"),
    _code(threading.Semaphore.acquire): ("semaphore", "self", "timeout", "acquire"),
    _code(threading.Barrier.wait): ("barrier", "self", "timeout", "wait"),
    _code(queue.Queue.get): ("queue", "self", "timeout", "get"),
    _code(queue.Queue.put): ("queue", "self", "timeout", "put"),
    _code(queue.Queue.join): ("queue", "self", "", "join"),
    _code(subprocess.Popen.wait): ("child", "self", "timeout", "wait"),
    _code(subprocess.Popen.communicate): ("child", "self", "timeout", "communicate"),
    _code(multiprocessing.process.BaseProcess.join): ("child", "self", "timeout", "join"),
}
_WORKER: Final = _code(concurrent.futures.thread._worker)  # noqa: SLF001 -- what is looked for
_RUN_ITEM: Final = _code(concurrent.futures.thread._WorkItem.run)  # noqa: SLF001 -- the same
MAX_WALK: Final = 1_000


def see_threads(without: int = 0) -> Threads:
    """Return what all threads are doing.

    Args:
        without: The id of a thread to leave out: the one that looks.
    """
    seen = Threads()
    frames = sys._current_frames()  # noqa: SLF001 -- there is no other way
    frames.pop(without, None)
    loops = {now.thread: now for now in see_loops(frames)}
    while frames:
        ident, frame = frames.popitem()
        name = thread_name(ident)
        if name == sync.THREAD or not (name.startswith("spanloom-") or is_beating(frame)):
            thread = ThreadNow(ident, name, stack_of(frame), loop=loops.get(ident))
            thread.native_id = native_id(ident)
            _read(thread, frame, seen)
            seen.threads[ident] = thread
        del frame  # it may be this one, which would refer to itself
    return seen


def _read(thread: ThreadNow, top: FrameType, seen: Threads) -> None:
    frame: FrameType | None = top
    is_inside = True  # still in the standard library, seen from the innermost call outwards
    for _ in range(MAX_WALK):
        if frame is None:
            return
        code = frame.f_code
        if code is _WORKER:
            _pool(thread, frame, seen, is_idle=frame is top)
            return
        if code is _RUN_ITEM:
            thread.item = variables_of(frame).get("self")
        if is_inside and not is_foreign(code):
            is_inside = False
        if is_inside and code in _WAITS:
            kind, name, timeout, verb = _WAITS[code]
            names = variables_of(frame)
            what = names.get(name)
            timed = bool(timeout) and names.get(timeout) is not None
            if what is not None:
                inner = thread.wait
                thread.wait = SyncWait(kind, what, timed, verb)
                # The end of `with pool:` joins its threads one after the other, and some may have ended.
                if kind == "pool" and inner is not None and inner.kind == "thread":
                    thread.wait = inner
        frame = frame.f_back


def _pool(thread: ThreadNow, frame: FrameType, seen: Threads, *, is_idle: bool) -> None:
    names = variables_of(frame)
    work = names.get("work_queue")
    if work is None:
        return
    pool = seen.pools.get(id(work))
    if pool is None:
        reference = names.get("executor_reference")
        executor = reference() if callable(reference) else None
        pool = PoolNow(id(work), field(executor, "_max_workers", 0))
        pool.name = field(executor, "_thread_name_prefix", "")
        pool.queued = [item for item in _queued(work) if not item.future.done()]
        seen.pools[pool.key] = pool
    pool.threads.append(thread.ident)
    thread.pool = pool.key
    thread.idle = is_idle and thread.item is None
    if thread.item is None:
        thread.wait = None


def _queued(work: object) -> list[Any]:
    """Return the items in a ``SimpleQueue``, which shows them only to the garbage collector."""
    kind = concurrent.futures.thread._WorkItem  # noqa: SLF001 -- as above
    found: list[Any] = []
    for part in gc.get_referents(work):
        if type(part) is kind:
            found.append(part)
        elif type(part) is list:  # up to 3.12
            found += [item for item in part if type(item) is kind]
    return found


def function_name(function: object) -> str | None:
    """Return the name of the function that a pool calls, inside of ``partial``, ``to_thread`` and bound methods."""
    for _ in range(10):
        if type(function) is functools.partial:
            inner = function.func
            is_context = type(inner) is BuiltinMethodType and inner.__qualname__ == "Context.run"
            function = function.args[0] if is_context and function.args else inner
        elif type(function) is MethodType:
            function = function.__func__
        else:
            break
    if type(function) is FunctionType:
        return bare_name(function.__qualname__)
    if module_of(type(function)).startswith("spanloom.instrument."):  # a wrapper of a function of the program
        name = field(function, "name")
        return name if type(name) is str else None
    return function.__name__ if type(function) is BuiltinMethodType else type(function).__name__ or None


def item_name(item: Any) -> str | None:
    """Return the name of the function of a pool's work item."""
    task = field(item, "task")  # 3.14
    return function_name(task[0] if type(task) is tuple else field(item, "fn"))
