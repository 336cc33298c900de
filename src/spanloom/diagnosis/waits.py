"""What a suspended task waits for: the outermost primitive in its await chain decides.

The outermost, because `Queue.join` awaits an `Event`, a `Barrier` a `Condition`, and so on. The primitives of asyncio
and anyio, and our own limiters, are recognised by their code objects; so are subclasses that call `super()`.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import locks as asyncio_locks
from asyncio import queues, tasks
from collections.abc import Callable, Iterable, Sequence
from gc import get_referents
from types import CodeType
from typing import Any, Final, Literal, NamedTuple

from spanloom.concurrency.engine import Engine
from spanloom.concurrency.slots import Slots
from spanloom.concurrency.stream import OutcomeStream
from spanloom.concurrency.window import Window
from spanloom.diagnosis.chain import Link
from spanloom.diagnosis.chained import ends_behind, stands_for_itself
from spanloom.diagnosis.fields import (
    field,
    future_done,
    gathered,
    is_future,
    is_task,
)
from spanloom.diagnosis.landmarks import WAIT_FOR
from spanloom.diagnosis.origin import belongs_to_us, is_standard
from spanloom.diagnosis.pace import in_slices
from spanloom.diagnosis.resting import RUNNERS
from spanloom.diagnosis.variables import variables_of

__all__ = ["GIVERS", "TAKERS", "RawWait", "Table", "is_io", "subject_of"]


class RawWait(NamedTuple):
    """A `spanloom.diagnosis.model.Wait` with the objects themselves instead of keys.

    Attributes:
        depth: Index of the primitive's frame in the await chain; -1 if no frame of a primitive was found.
    """

    kind: str
    resource: object = None
    targets: Sequence[object] = ()
    needs: Literal["all", "any"] = "all"
    depth: int = -1
    cancels: bool = True


GIVERS: Final[dict[str, frozenset[str] | None]] = {
    "lock": frozenset({"release"}),
    "semaphore": frozenset({"release"}),
    "limiter": frozenset({"release", "release_on_behalf_of", "resize", "total_tokens"}),
    "event": frozenset({"set"}),
    "get": frozenset({"put", "put_nowait", "shutdown", "send", "send_nowait", "close", "aclose"}),
    "put": frozenset({"get", "get_nowait", "shutdown", "receive", "receive_nowait", "close", "aclose"}),
    "join": frozenset({"task_done", "shutdown"}),
    "condition": frozenset({"notify", "notify_all"}),
    "barrier": frozenset({"wait", "abort", "reset", "__aenter__"}),
    "parties": frozenset(
        {"create_task", "ensure_future", "TaskGroup", "gather", "start_soon"}
        | {"run_coroutine_threadsafe", "async_map", "async_gather", "async_stream"}
    ),
    "loop": RUNNERS,
    "future": frozenset({"set_result", "set_exception", "cancel", "set_running_or_notify_cancel"}),
}
"""By kind of wait, the names of the methods that end it; ``None``: whoever reaches the object can end it.

``"parties"`` is no wait: its methods make tasks, which may then come to a barrier.
"""

TAKERS: Final = frozenset({"acquire", "__aenter__", "enter_async_context"})
"""Names of the methods that take a lock or a permit without a block that gives it back."""
_IO_FILES: Final = (
    *("streams.py", "subprocess.py", "base_events.py", "selector_events.py", "unix_events.py"),
    *("base_subprocess.py", "sslproto.py", "proactor_events.py"),
)


def subject_of(link: Link, *types: type) -> object:
    """Return the first object of one of `types` that a frame refers to, which is the ``self`` of its method."""
    for referent in get_referents(link.owner):
        if issubclass(type(referent), types):
            return referent
    return None


Reader = Callable[[Sequence[Link], int, object], RawWait | None]


class Table:
    """Knows the code objects of the primitives. Made anew for each look, as anyio may be imported meanwhile."""

    def __init__(self) -> None:
        self._readers: dict[CodeType, Reader] = {}
        lock = asyncio_locks.Lock
        self._method(lock.acquire, "lock", lock)
        self._method(asyncio_locks.Semaphore.acquire, "semaphore", asyncio_locks.Semaphore)
        self._method(asyncio_locks.Event.wait, "event", asyncio_locks.Event)
        for method in (asyncio_locks.Condition.wait, asyncio_locks.Condition.wait_for):
            self._condition(method, asyncio_locks.Condition, lock.acquire)
        self._method(asyncio_locks.Barrier.wait, "barrier", asyncio_locks.Barrier)
        self._method(queues.Queue.get, "get", queues.Queue)
        self._method(queues.Queue.put, "put", queues.Queue)
        self._method(queues.Queue.join, "join", queues.Queue)
        self._method(Slots.acquire, "limiter", Slots)
        self._readers[tasks._wait.__code__] = _waited  # type: ignore[attr-defined] # noqa: SLF001 -- the one frame that knows the set
        for name in ("__aexit__", "_aexit"):  # the second one from 3.14 on
            if hasattr(asyncio.TaskGroup, name):
                self._readers[getattr(asyncio.TaskGroup, name).__code__] = _grouped
        iterator: Any = getattr(tasks, "_AsCompletedIterator", None)  # 3.13
        if iterator is not None:
            self._readers[iterator._wait_for_one.__code__] = _completed  # noqa: SLF001 -- see above
        else:
            nested = [const for const in tasks.as_completed.__code__.co_consts if type(const) is CodeType]
            self._readers.update({code: _completed for code in nested if code.co_name == "_wait_for_one"})
        self._anyio()
        self._readers[OutcomeStream.__anext__.__code__] = _outcome
        self._readers[Window._work_off.__code__] = _jobs  # noqa: SLF001 -- the code of ours that waits for jobs
        self._readers[Engine._wait.__code__] = _jobs  # noqa: SLF001 -- as above

    def _method(self, function: Any, kind: str, *types: type) -> None:
        self._readers[_own_code(function)] = lambda links, at, _: _simple(kind, links, at, types)

    def _condition(self, function: Any, cls: type, acquire: Any) -> None:
        code = _own_code(acquire)
        takes = self._readers[code]  # `read` must not refer to the table, which refers to `read`

        def read(links: Sequence[Link], at: int, leaf: object) -> RawWait | None:
            for inner in range(at + 1, len(links)):
                if links[inner].code is code:  # notified: it waits for the lock again
                    return takes(links, inner, leaf)
            return _simple("condition", links, at, (cls,))

        self._readers[_own_code(function)] = read

    def _anyio(self) -> None:
        backend: Any = sys.modules.get("anyio._backends._asyncio")
        core: Any = sys.modules.get("anyio._core._synchronization")
        memory: Any = sys.modules.get("anyio.streams.memory")
        if backend is None or core is None:
            return
        try:
            for cls, kind in (
                (backend.Lock, "lock"),
                (backend.Semaphore, "semaphore"),
                (backend.Event, "event"),
            ):
                self._method(cls.wait if kind == "event" else cls.acquire, kind, cls)
            limiter = backend.CapacityLimiter
            self._method(limiter.acquire, "limiter", limiter)
            self._method(limiter.acquire_on_behalf_of, "limiter", limiter)
            self._condition(core.Condition.wait, core.Condition, backend.Lock.acquire)
            if hasattr(core.Condition, "wait_for"):
                self._condition(core.Condition.wait_for, core.Condition, backend.Lock.acquire)
            self._readers[backend.TaskGroup.__aexit__.__code__] = _grouped
            if memory is not None:
                self._readers[memory.MemoryObjectReceiveStream.receive.__code__] = _streamed("get")
                self._readers[memory.MemoryObjectSendStream.send.__code__] = _streamed("put")
        except AttributeError:  # an unknown version of anyio: its waits are classified by the futures inside
            return

    def timed(self, links: Sequence[Link], leaf: object) -> RawWait:
        """Classify a wait that a timer will end: a sleep, or what `wait_for` of Python 3.11 waits for."""
        for at, link in enumerate(links):
            if link.code is WAIT_FOR:
                inner = [one for one in get_referents(link.owner) if is_future(one) and one is not leaf]
                if inner:
                    return _ends(RawWait("task", None, tuple(inner), depth=at))
        return RawWait("sleep")

    def classify(self, links: Sequence[Link], leaf: object) -> RawWait:
        """Return what a task waits for.

        Args:
            links: Its await chain, outermost frame first.
            leaf: The future that will wake it.
        """
        for at, link in enumerate(links):
            reader = self._readers.get(link.code)
            if reader is not None:
                found = reader(links, at, leaf)
                if found is not None:
                    return _ends(found)
            elif is_io(link.code.co_filename):
                return RawWait("io", depth=at)
        if is_task(leaf):
            return RawWait("task", None, (leaf,))
        children = gathered(leaf)
        if children is not None:
            return _ends(RawWait("group", None, tuple(children)))
        if stands_for_itself(leaf):
            return RawWait("future", leaf)
        found = _ends(RawWait("task", None, (leaf,)))
        return RawWait("future", leaf) if found.targets == (leaf,) else found


def _ends(wait: RawWait) -> RawWait:
    """Replace futures that stand for tasks (`gather`, `shield`, `wrap_future`) by the tasks that have to end.

    A wait for *any* of several futures is left as it is if one of them stands for several tasks: "any of all" has no
    form in a `RawWait`.
    """
    if all(map(is_task, wait.targets)):
        return wait
    found = [list(ends_behind(target)) for target in in_slices(wait.targets) if not future_done(target)]
    if wait.needs == "any" and any(len(ends) > 1 for ends in found):
        return wait
    ends = [end for some in found for end in some]
    targets = tuple(dict.fromkeys(end for end, _ in ends))
    return wait._replace(targets=targets, cancels=any(cancels for _, cancels in ends))


def is_io(filename: str) -> bool:
    """Return whether `filename` (of a code object) is one of asyncio's modules for sockets, pipes and processes."""
    return filename.endswith(_IO_FILES) and is_standard(filename)


def _simple(kind: str, links: Sequence[Link], at: int, types: tuple[type, ...]) -> RawWait | None:
    subject = subject_of(links[at], *types)
    if subject is None:
        return None
    while at and _stands_for(links[at - 1].code, links[at].code):
        at -= 1
    return RawWait(kind, subject, depth=at)


def _stands_for(outer: CodeType, inner: CodeType) -> bool:
    """Return whether `outer` is our patch of the method `inner`, which it calls."""
    return outer is not inner and outer.co_name == "acquire" and belongs_to_us(outer.co_filename)


def _own_code(function: Any) -> CodeType:
    """Return the code of a method itself, not that of a patch around it, which is one function for all methods."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code: CodeType = function.__code__
    return code


def _waited(links: Sequence[Link], at: int, _: object) -> RawWait | None:
    referents = get_referents(links[at].owner)
    awaited = next(
        (one for one in referents if type(one) in (set, list, tuple, frozenset) and _all_futures(one)), None
    )
    if awaited is None:
        return None
    # `return_when` lies in a cell, as the done-callback uses it, too; so it is read as a variable, not as a referent.
    every = variables_of(links[at].frame, links[at].owner).get("return_when") == asyncio.ALL_COMPLETED
    return RawWait("group", None, tuple(awaited), "all" if every else "any", at)


def _outcome(links: Sequence[Link], at: int, _: object) -> RawWait | None:
    """Read a wait for the next outcome of a stream as a wait for the task that runs its jobs."""
    pump = field(subject_of(links[at], OutcomeStream), "_pump")
    return None if pump is None or future_done(pump) else RawWait("task", None, (pump,), depth=at)


def _jobs(links: Sequence[Link], at: int, leaf: object) -> RawWait | None:
    """Read the wait of a runner as a wait for any of its jobs; ``None`` if it waits for something else."""
    runner = subject_of(links[at], Engine)
    alive = field(runner, "_alive")
    if field(runner, "_waiter") is not leaf or not alive:
        return None
    jobs = list(alive.values() if type(alive) is dict else alive)
    running = tuple(job for job in jobs if is_task(job))
    return RawWait("group", None, running, "any", at) if len(running) == len(jobs) else None


def _all_futures(values: Iterable[object]) -> bool:
    found = tuple(values)
    return bool(found) and all(is_future(value) for value in found)


def _grouped(links: Sequence[Link], at: int, _: object) -> RawWait | None:
    for referent in get_referents(links[at].owner):
        if type(referent).__name__ == "TaskGroup":
            children = field(referent, "_tasks")
            if children:
                return RawWait("group", None, tuple(children), "all", at)
    return None


def _completed(links: Sequence[Link], at: int, _: object) -> RawWait | None:
    for referent in get_referents(links[at].owner):
        todo = field(referent, "_todo")  # 3.13
        if type(todo) is set and todo:
            return RawWait("group", None, tuple(todo), "any", at)
    for link in links[at + 1 :]:
        queue = subject_of(link, queues.Queue)
        if queue is not None:  # 3.11 and 3.12: only the done-callbacks know who will put into it
            return RawWait("completed", queue, (), "any", at)
    return None


def _streamed(kind: str) -> Reader:
    def read(links: Sequence[Link], at: int, _: object) -> RawWait | None:
        for referent in get_referents(links[at].owner):
            state = field(referent, "_state")
            if state is not None:
                return RawWait(kind, state, depth=at)
        return None

    return read
