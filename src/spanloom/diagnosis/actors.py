"""The actors: what besides tasks can still make something happen. Timers, callbacks, sockets, signals, threads, pools.

Each actor has a *play*, which adds to a `Reach` what it may call and which objects it can get at.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import threading
import weakref
from asyncio import base_events, futures, tasks, timeouts
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import thread as pool_threads
from gc import get_referents
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any, Final

from spanloom.diagnosis.ahead import Ahead, Bytecode
from spanloom.diagnosis.chain import Link
from spanloom.diagnosis.chained import task_behind
from spanloom.diagnosis.fields import (
    field,
    future_done,
    in_class,
    is_a,
    is_future,
    is_pool_call,
    is_task,
)
from spanloom.diagnosis.model import Actor, ActorKind
from spanloom.diagnosis.origin import belongs_to_us, is_own, is_standard
from spanloom.diagnosis.pace import in_slices
from spanloom.diagnosis.reach import Reach
from spanloom.diagnosis.running import Running
from spanloom.diagnosis.signals import OURS, module_called, set_handlers, set_hooks
from spanloom.diagnosis.variables import variables_of

__all__ = ["Cast"]

Play = Callable[[Reach], None]
_SLEEPERS: Final = (futures._set_result_unless_cancelled, tasks._release_waiter)  # type: ignore[attr-defined] # noqa: SLF001 -- of sleep() and wait_for()
_WEAK: Final = (weakref.WeakSet, weakref.WeakKeyDictionary)
"""Types of what uvloop keeps without ever calling it, as its asynchronous generators."""
_WORKER: Final = pool_threads._worker.__code__  # noqa: SLF001 -- the frame of a pool's thread
_RUN_ONCE: Final = base_events.BaseEventLoop._run_once.__code__  # type: ignore[attr-defined] # noqa: SLF001 -- as above
_RESULT: Final = concurrent.futures.Future.result.__code__
_JOIN: Final = threading.Thread.join.__code__


class Cast:
    """All actors of one moment.

    Attributes:
        actors: By key; keys are negative, so that none is a task's.
        plays: By key, what adds the actor's roots to a closure.
        woken: Identities of the futures that a timer resolves: those of `asyncio.sleep`, and of `wait_for` up to 3.11.
        due: Identities of the tasks that the timer of an `asyncio.timeout` cancels.
        called_from: By identity of a task whose result a thread waits for: the program's own frames of that thread,
            outermost first.
    """

    def __init__(self, bytecode: Bytecode) -> None:
        self.actors: dict[int, Actor] = {}
        self.plays: dict[int, Play] = {}
        self.woken: set[int] = set()
        self.due: set[int] = set()
        self.called_from: dict[int, list[Link]] = {}
        self._bytecode = bytecode
        self._grouped: dict[
            tuple[ActorKind, int, tuple[int, ...]], list[tuple[Any, tuple[Any, ...], Any]]
        ] = {}
        self._needs: tuple[int, ...] = ()
        self._stoppable: list[tuple[str, Play]] = []
        self._queued: dict[int, Any] = {}

    def once_stopped(self) -> None:
        """Add the code after ``run_forever()`` of each thread in one: if its loop is stopped, it may run another."""
        for name, play in self._stoppable:
            self._add("caller", name, play)

    def _add(self, kind: ActorKind, what: str, play: Play, needs: Iterable[int] = ()) -> int:
        key = -1 - len(self.actors)
        self.actors[key] = Actor(key, kind, what, tuple(needs))
        self.plays[key] = play
        return key

    # loops ------------------------------------------------------------------------------------------------

    def loop(self, loop: Any, needs: Iterable[int] = ()) -> None:
        """Add what a loop will call: ready callbacks, timers, handlers of signals and sockets, its exception handler.

        Args:
            loop: The loop.
            needs: If no thread runs it: the key of one of its tasks, which progresses only if somebody runs it, as do
                these actors.
        """
        self._needs = tuple(needs)
        if not is_a(in_class(type(loop), "_run_once"), FunctionType):
            self._foreign_loop(loop)
            return
        hook = field(loop, "_exception_handler")
        if hook is not None and not module_called(hook).startswith(OURS):
            self._hook(hook, self._needs)
        for handle in in_slices(list(field(loop, "_ready", ()))):
            self._handle("callback", handle)
        for handle in in_slices(list(field(loop, "_scheduled", ()))):
            self._handle("timer", handle)
        for handle in list(field(loop, "_signal_handlers", {}).values()):
            self._handle("signal", handle)
        selector = field(loop, "_selector")
        registered = field(selector, "_fd_to_key", {})
        for key in list(registered.values()):
            for handle in key.data if type(key.data) is tuple else ():
                if handle is not None:
                    self._handle("io", handle)

    def _foreign_loop(self, loop: Any) -> None:
        """Add a loop with hidden queues, as uvloop's: timers are known by their type; all else it may call any time."""
        values = []
        for value in get_referents(loop):
            inner = get_referents(value) if type(value) in (set, dict, deque) else ()
            timers = [one for one in inner if type(one).__name__ == "TimerHandle"]
            for timer in timers:
                self._hidden_timer(timer)
            if value is not None and not timers and type(value) not in _WEAK:
                values.append(value)
        if not values:
            return

        def play(reach: Reach) -> None:
            reach.transport()
            reach.value(*values)

        self._add("loop", type(loop).__module__, play)

    def _hidden_timer(self, handle: Any) -> None:
        args: tuple[Any, ...] = ()
        callback = context = None
        for referent in get_referents(handle):
            if type(referent) is tuple:
                args = referent
            elif type(referent) is contextvars.Context:
                context = referent
            elif callback is None and callable(referent):
                callback = referent
        if callback is not None:
            self._call("timer", callback, args, context)

    def _handle(self, kind: ActorKind, handle: Any) -> None:
        callback = field(handle, "_callback")
        if callback is not None and not field(handle, "_cancelled"):
            self._call(kind, callback, field(handle, "_args") or (), field(handle, "_context"))

    def _call(self, kind: ActorKind, callback: Any, args: tuple[Any, ...], context: Any) -> None:
        inner = callback
        while type(inner) is functools.partial:
            args = (*inner.args, *args)
            inner = inner.func
        if kind == "timer" and self._simple_timer(inner, args):
            return
        function = inner.__func__ if type(inner) is MethodType else inner
        owner = field(inner, "__self__")
        if is_a(owner, asyncio.AbstractEventLoop) and kind == "io" and not args:
            return  # the loop reads its self-pipe
        if is_task(owner):  # a step of a task, whose state is "ready" then
            return
        if module_called(function).startswith(OURS):
            return
        code = field(function, "__code__")
        key = code if type(code) is CodeType else type(owner)
        self._grouped.setdefault((kind, id(key), self._needs), []).append((inner, args, context))

    def _simple_timer(self, callback: Any, args: tuple[Any, ...]) -> bool:
        if any(callback is one for one in _SLEEPERS):
            self.woken.update(id(arg) for arg in args if is_future(arg))
            return True
        if type(callback) is MethodType and callback.__func__ is timeouts.Timeout._on_timeout:  # type: ignore[attr-defined] # noqa: SLF001 -- what a timeout schedules
            task = field(callback.__self__, "_task")
            self.due.add(id(task))
            return True
        return False

    def settle(self) -> None:
        """Make one actor of all handles of a kind that call the same function, and one of all queued pool calls."""
        for (kind, _, needs), calls in self._grouped.items():
            first = calls[0][0]
            function = first.__func__ if type(first) is MethodType else first
            what = field(function, "__qualname__", type(function).__name__)

            def play(reach: Reach, calls: Any = calls, kind: str = kind) -> None:
                if kind == "io":
                    reach.transport()
                for callback, args, context in calls:
                    reach.value(context)
                    reach.callback(callback, args)

            self._add(kind, what, play, needs)
        self._grouped.clear()
        items = list(self._queued.values())
        if items:

            def queued(reach: Reach) -> None:
                for item in items:
                    reach.promise((field(item, "future"),))
                    reach.value(item)

            self._add("pool", "queued calls", queued)

    def outside(self) -> int:
        """Add an actor for the owners of references that are not accounted for, and return its key."""
        return self._add("outside", "code that cannot be seen", lambda _: None)

    # signals ----------------------------------------------------------------------------------------------

    def signals(self) -> None:
        """Add the handlers of signals that the program has set."""
        for number, handler in set_handlers():

            def play(reach: Reach, handler: Any = handler) -> None:
                reach.callback(handler, ())

            self._add("signal", str(number), play)

    def hooks(self) -> None:
        """Add the hooks for uncaught exceptions: anything that runs may raise one."""
        for hook in set_hooks():
            self._hook(hook)

    def _hook(self, hook: Any, needs: Iterable[int] = ()) -> None:
        self._add("hook", "what is told of failures", lambda reach: reach.callback(hook, ()), needs)

    # threads ----------------------------------------------------------------------------------------------

    def thread(self, running: Running, own: int, mains: Mapping[int, Sequence[int]]) -> None:
        """Add a thread, unless it is ours or an idle thread of a pool.

        A thread that runs a loop becomes up to two actors: what it runs inside the loop now, and the code after the
        loop (``"caller"``), which needs the main task to end.

        Args:
            running: The thread.
            own: Ident of the thread that looks.
            mains: By ident of a thread that runs a loop: the keys of the tasks with whose end ``run`` returns.
        """
        frames = running.frames
        if running.loop is None:
            if running.ident == own or _is_ours(frames):
                self._call_that_looks(frames)
                return
            if frames[0].f_code is _WORKER and variables_of(frames[0]).get("work_item") is None:
                return  # it waits for work
            needs = self._awaited_by(frames)
            for key in needs:
                self.called_from[key] = [
                    Link(frame, frame.f_code, frame)
                    for frame in reversed(frames)
                    if is_own(frame.f_code.co_filename)
                ]
            needs = needs or tuple(mains.get(_joined(frames), ()))
            kind: ActorKind = "pool" if any(frame.f_code is _WORKER for frame in frames) else "thread"
            self._add(kind, running.name, self._play_of(frames), needs)
            return
        inside = frames[: max(running.at, 0)]
        for frame in inside:
            if (
                frame.f_code is _RUN_ONCE
            ):  # the handle that is being run: it is no longer among the ready ones
                handle = variables_of(frame).get("handle")
                if handle is not None:
                    self._handle("callback", handle)
        if running.ident != own and any(not is_standard(frame.f_code.co_filename) for frame in inside):
            self._add("callback", running.name, self._play_of(inside))
        outside = frames[running.at + 1 :]
        needs = tuple(mains.get(running.ident, ()))
        if outside and needs:
            self._add("caller", running.name, self._play_of(outside), needs)
        elif outside:
            self._stoppable.append((running.name, self._play_of(outside)))

    def _call_that_looks(self, frames: list[FrameType]) -> None:
        """Add what a thread that looks will do afterwards: return from its pool call, as in ``to_thread(why)``.

        Threads that look at the same time must take each other for such. Of the frames that called the look, only the
        objects that their code names are added, without what could be reached from those: from a debugger or a test
        that is everything.
        """
        for frame in frames:
            ahead = None if _is_our_frame(frame) else self._ahead_of(frame)
            if ahead is not None:
                named = [frame.f_globals[name] for name in ahead.names & frame.f_globals.keys()]
                values = [*_values_of(frame, ahead), *named]
                self._add("pool", "who looks", functools.partial(_hand, ahead=ahead, values=values))
        items = [variables_of(frame).get("work_item") for frame in frames if frame.f_code is _WORKER]
        called = [field(item, "future") for item in items if item is not None]
        if called:

            def play(reach: Reach) -> None:
                reach.promise(called)
                reach.value(*called)

            self._add("pool", "the call that looks", play)

    def _play_of(self, frames: list[FrameType]) -> Play:
        pieces = [(frame, self._ahead_of(frame)) for frame in frames if not _is_our_frame(frame)]
        before = [_values_of(frame, ahead) for frame, ahead in pieces]

        def add(reach: Reach, frame: FrameType, ahead: Ahead | None, values: list[object]) -> None:
            if ahead is None:
                reach.promise((*values, *(field(value, "future") for value in values)))
                reach.value(*values)
            else:
                reach.frame(ahead, frame.f_globals, values)

        def play(reach: Reach) -> None:
            for (frame, ahead), values in zip(pieces, before, strict=True):
                add(reach, frame, ahead, values)
            for (
                frame,
                ahead,
            ) in pieces:  # again: it may have taken something out of a container just before that was read
                add(reach, frame, ahead, _values_of(frame, ahead))

        return play

    def _ahead_of(self, frame: FrameType) -> Ahead | None:
        code = frame.f_code
        return (
            None if is_standard(code.co_filename) else self._bytecode.ahead(code, frame.f_lasti, running=True)
        )

    def _awaited_by(self, frames: list[FrameType]) -> tuple[int, ...]:
        """Return the task for whose result a thread waits without a timeout, as a tuple; empty if there is none."""
        for frame in frames:
            if frame.f_code is _RESULT:
                variables = variables_of(frame)
                future = variables.get("self")
                if variables.get("timeout") is None and future is not None:
                    task = task_behind(future)
                    return () if task is None or future_done(task) else (id(task),)
        return ()

    def pool(self, running: Running) -> None:
        """Add the calls that are queued for the pool that a thread belongs to, if it belongs to one."""
        for frame in running.frames:
            if frame.f_code is _WORKER:
                self._queue(variables_of(frame).get("work_queue"))

    def _queue(self, queue: Any) -> None:
        """Note the calls that lie in the queue of a pool: in its list, or, from 3.13 on, referred to by the queue."""
        for content in get_referents(queue):
            for item in content if type(content) is list else (content,):
                if is_pool_call(item):
                    self._queued[id(item)] = item

    def starting(self) -> None:
        """Add threads that have been started and have no frame yet."""
        pending = list(threading._limbo.values())  # type: ignore[attr-defined] # noqa: SLF001 -- as enumerate() does, without its lock
        if pending:

            def play(reach: Reach) -> None:
                reach.value(*pending)

            self._add("thread", "starting", play)


def _values_of(frame: FrameType, ahead: Ahead | None) -> list[object]:
    """Return the variables of a running frame; of a module or class body, only those that its code ahead uses."""
    variables = variables_of(frame)
    if ahead is None or frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return list(variables.values())
    return [value for name, value in variables.items() if name in ahead.names]


def _hand(reach: Reach, ahead: Ahead, values: list[object]) -> None:
    reach.handed(ahead, values)


def _joined(frames: list[FrameType]) -> int:
    """Return the ident of the thread that one with these frames joins without a timeout; 0 if it joins none."""
    for frame in frames:
        if frame.f_code is _JOIN:
            variables = variables_of(frame)
            ident = field(variables.get("self"), "_ident")
            return ident if variables.get("timeout") is None and type(ident) is int else 0
        if not is_standard(frame.f_code.co_filename):
            break
    return 0


def _is_our_frame(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__")
    return isinstance(module, str) and module.startswith(OURS)


def _is_ours(frames: list[FrameType]) -> bool:
    """Return whether a thread runs our listening side, and else only spanloom's and the standard library's code."""
    return any(_is_our_frame(frame) for frame in frames) and all(
        is_standard(frame.f_code.co_filename) or belongs_to_us(frame.f_code.co_filename) for frame in frames
    )
