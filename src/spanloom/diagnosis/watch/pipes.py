"""PIPE_DEADLOCK: the program and a child process each wait for the other to read from, or write to, a pipe.

The kernel tells that a child is blocked at a pipe whose other end is in this process. It is a deadlock if nobody here
serves that end, and all tasks and threads that could (that can reach it) wait for the child, directly or not.
"""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import gc
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from spanloom.diagnosis.chain import code_of, link_of
from spanloom.diagnosis.fields import field, future_done, is_a, loop_of, module_of, task_name
from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.variables import variables_of
from spanloom.diagnosis.watch.blocked import tasks_of
from spanloom.diagnosis.watch.children import (
    Blocked,
    blocked_in,
    children_of,
    ends_here,
    has_thread_that_may_act,
    own_call,
    pid_of,
    pipe_of,
    program_of,
)
from spanloom.diagnosis.watch.frames import Call, is_own, location, place_in, where
from spanloom.diagnosis.watch.needs import Needs
from spanloom.diagnosis.watch.pulse import function_of
from spanloom.diagnosis.watch.reach import await_chain, knows_task
from spanloom.diagnosis.watch.threads import ThreadNow, Threads
from spanloom.diagnosis.watch.waiters import behind, has_deadline, may_be_cancelled_by

__all__ = ["at_pipes"]

BETWEEN_S: Final = 0.1
_PROCESS: Final = asyncio.subprocess.Process
_STREAMS: Final = (asyncio.StreamReader, asyncio.StreamWriter)
_READS: Final = {
    function.__code__
    for function in (
        asyncio.StreamReader.read,
        asyncio.StreamReader.readline,
        asyncio.StreamReader.readexactly,
        asyncio.StreamReader.readuntil,
    )
}
_WAIT: Final = _PROCESS.wait.__code__
_COMMUNICATE: Final = _PROCESS.communicate.__code__
_DRAIN: Final = asyncio.StreamWriter.drain.__code__


class _Stuck(NamedTuple):
    """A child that is blocked at a pipe whose other end is here.

    Attributes:
        pid, call, number: The process, ``"read"`` or ``"write"``, and its descriptor.
        here: Our descriptors for the pipe; empty for the socket that Python 3.11 uses for a child's standard input.
    """

    pid: int
    call: str
    number: int
    here: tuple[int, ...]


class _Waiter(NamedTuple):
    """A task or thread of this process that waits for a child.

    Attributes:
        task: Its task, or ``None``.
        thread: Its thread, or ``None``.
        what: What it does, in words.
        place: Where, in the program's code.
        known: The object by which it deals with the child: a process, a reader or a writer.
    """

    task: asyncio.Task[Any] | None
    thread: ThreadNow | None
    what: str
    place: Call | None
    known: object


def at_pipes(seen: Threads) -> Iterator[Finding]:
    """Yield the findings on children that are blocked for ever at a pipe to this process."""
    stuck = list(_stuck())
    if not stuck:
        return
    time.sleep(BETWEEN_S)
    still = set(_stuck())
    told: set[int] = set()
    for one in stuck:
        if one in still and one.pid not in told:
            finding = _finding(one, seen)
            if finding is not None:
                told.add(one.pid)
                yield finding


def _stuck() -> Iterator[_Stuck]:
    for pid in children_of(os.getpid()):
        for call in blocked_in(pid):
            if call.call not in {"read", "write"}:
                continue
            pipe = pipe_of(pid, call.number)
            if pipe is None:
                continue
            here = tuple(
                number for number, writes in ends_here(pipe).items() if writes == (call.call == "read")
            )
            if here or (pipe.startswith("socket:") and call == Blocked("read", 0)):
                yield _Stuck(pid, call.call, call.number, here)


def _finding(stuck: _Stuck, seen: Threads) -> Finding | None:
    tasks = [
        task
        for thread in seen.threads.values()
        if thread.loop is not None
        for task in tasks_of(thread.loop.loop)
        if not future_done(task)
    ]
    if _is_served(stuck, seen, tasks):
        return None
    if stuck.call == "read" and has_thread_that_may_act(stuck.pid):
        return None  # one of its threads may act, and so end what is waited for here
    family = {stuck.pid, *_parents(stuck.pid)}
    waiters = [*_tasks_for(family, tasks), *_threads_for(family, seen)]
    if not waiters:
        return None
    loops_held = {
        id(one.thread.loop.loop) for one in waiters if one.thread is not None and one.thread.loop is not None
    }
    stopped = [task for task in tasks if id(loop_of(task)) in loops_held]
    served = [one.task or _served(one, tasks) for one in waiters]
    awaited = [task for task in served if task is not None]
    dead = behind([*awaited, *stopped], tasks)
    if any(has_deadline(task) for task in dead if task not in stopped):
        return None
    if any(may_be_cancelled_by(one, task) for task in tasks if task not in dead for one in awaited):
        return None
    means = _means(stuck, waiters)
    for task in tasks:
        if task not in dead and (not means or any(knows_task(task, one) for one in means)):
            return None
    dead_threads = {one.thread.ident for one in waiters if one.thread is not None}
    for thread in seen.threads.values():
        if (
            thread.loop is None
            and not thread.idle
            and thread.ident not in dead_threads
            and thread.wait is None
        ):
            return None  # it runs, and may do anything
    return _said(stuck, waiters, tasks)


def _is_served(stuck: _Stuck, seen: Threads, tasks: list[asyncio.Task[Any]]) -> bool:
    """Tell whether the other end is served here: by a loop that watches it, a thread in a call, or ``communicate``."""
    for thread in seen.threads.values():
        now = thread.loop
        is_held = now is not None and not now.polls and thread.wait is not None
        if now is not None and not is_held and not _is_blocked(thread):
            table = field(field(now.loop, "_selector"), "_fd_to_key", {})
            for number in stuck.here:
                key = table.get(number)
                if key is not None and (key.events & (1 if stuck.call == "write" else 2)):
                    return True
        wait = thread.wait
        if wait is not None and wait.verb == "communicate" and pid_of(wait.what) == stuck.pid:
            return True
        call = _call_of(thread)
        if call is not None and call.number in stuck.here and call.call != stuck.call:
            return True
    family = {stuck.pid, *_parents(stuck.pid)}
    for task in tasks:
        if any(code_of(part) is _COMMUNICATE and _served_by(part) in family for part in await_chain(task)):
            return True
    return False


def _is_blocked(thread: ThreadNow) -> bool:
    call = _call_of(thread)
    return call is not None and thread.loop is not None and not thread.loop.polls


def _call_of(thread: ThreadNow) -> Blocked | None:
    native = thread.native_id
    return None if native is None else own_call(native)


def _parents(pid: int) -> list[int]:
    from spanloom.diagnosis.watch.client import ancestors

    found = ancestors(pid)
    own = os.getpid()
    return found[: found.index(own)] if own in found else []


def _tasks_for(family: set[int], tasks: list[asyncio.Task[Any]]) -> Iterator[_Waiter]:
    for task in tasks:
        chain = await_chain(task)
        for part in chain:
            code = code_of(part)
            if code is None or (code not in {_WAIT, _DRAIN} and code not in _READS):
                continue
            if _served_by(part) in family:
                owner = _self(part)
                name = "wait()" if code is _WAIT else "drain()" if code is _DRAIN else f"{code.co_name}()"
                yield _Waiter(task, None, name, place_in(chain), owner)
                break


def _self(coroutine: object) -> Any:  # Any: of whatever type has the method
    """Return the object whose method a coroutine is."""
    link = link_of(coroutine)
    return None if link is None else variables_of(link.frame, link.owner).get("self")


def _served_by(part: object) -> Any:  # Any: a number, where it is known
    """Return the process that a suspended method of a process, or of one of its streams, deals with."""
    owner = _self(part)
    transport = _process_of(owner) if is_a(owner, _STREAMS) else field(owner, "_transport")
    return field(transport, "_pid")


def _process_of(stream: object) -> Any:  # Any: the transport that asyncio has of a process
    """Return the process that a stream belongs to."""
    return field(field(field(stream, "_transport"), "_protocol"), "proc")


def _threads_for(family: set[int], seen: Threads) -> Iterator[_Waiter]:
    for thread in seen.threads.values():
        wait = thread.wait
        is_child = wait is not None and wait.kind == "child" and not wait.timed
        if wait is not None and is_child and pid_of(wait.what) in family:
            yield _Waiter(None, thread, f"{wait.verb}()", thread.place, wait.what)
            continue
        call = _call_of(thread)
        if call is None:
            continue
        if call.call == "wait" and call.number in family:
            yield _Waiter(None, thread, "wait()", thread.place, None)
        elif call.call in {"read", "write"}:
            pipe = pipe_of("self", call.number)
            if pipe is not None and any(_has(pid, pipe) for pid in family):
                yield _Waiter(None, thread, f"{call.call}()", thread.place, None)


def _has(pid: int, pipe: str) -> bool:
    try:
        names = os.listdir(f"/proc/{pid:d}/fd")  # noqa: PTH208 -- names are wanted
    except OSError:
        return False
    return any(name.isdecimal() and pipe_of(pid, int(name)) == pipe for name in names)


def _means(stuck: _Stuck, waiters: list[_Waiter]) -> list[object]:
    """Return the objects of which one is needed to use the other end: the process object, the transport, the stream."""
    found: list[object] = []
    for waiter in waiters:
        owner = waiter.known
        if is_a(owner, _PROCESS):
            found += [
                owner,
                field(owner, "stdin" if stuck.call == "read" else "stdout"),
                field(owner, "stderr"),
            ]
        elif is_a(owner, _STREAMS):
            process = _process_of(owner)
            protocol = field(process, "_protocol")
            ends = ("stdin",) if stuck.call == "read" else ("stdout", "stderr")
            found += [process, protocol, *(field(protocol, end) for end in ends)]
        elif owner is not None:
            found.append(owner)
        elif waiter.thread is not None:
            found += _opened(stuck)
    return [one for one in found if one is not None]


def _opened(stuck: _Stuck) -> list[object]:
    """Return the file objects that own our ends of a pipe; none if one of the ends may have another owner."""
    family = {stuck.pid, *_parents(stuck.pid)}
    found: list[object] = []
    numbers: set[int] = set()
    for process in gc.get_referrers(subprocess.Popen):
        if is_a(process, subprocess.Popen) and field(process, "pid") in family:
            files = [field(process, name) for name in ("stdin", "stdout", "stderr")]
            files = [file for file in files if module_of(type(file)) == "_io" and not file.closed]
            numbers.update(file.fileno() for file in files)
            found += [process, *files]
    return found if numbers.issuperset(stuck.here) else []


_NAMES: Final = {0: "standard input (stdin)", 1: "standard output (stdout)", 2: "standard error (stderr)"}


def _served(waiter: _Waiter, tasks: list[asyncio.Task[Any]]) -> asyncio.Task[Any] | None:
    """Return the task that waits for the call of a pool thread."""
    item = None if waiter.thread is None else waiter.thread.item
    return None if item is None else next((task for task in tasks if Needs.awaits(task, item.future)), None)


def _who(waiter: _Waiter, tasks: list[asyncio.Task[Any]]) -> tuple[str, str]:
    """Return the name of a waiter, and the waiter in words; for a pool thread, its task."""
    task, thread = waiter.task, waiter.thread
    if task is None and thread is not None:
        task = _served(waiter, tasks) if thread.loop is None else thread.loop.task
    if task is None:
        name = thread.name if thread is not None else "?"
        return name, f"thread {name}"
    name, function = task_name(task), function_of(task)
    who = f"task {name}" if function in {None, name} else f"task {name} ({function})"
    return name, who if thread is None or thread.loop is not None else f"{who}, by thread {thread.name},"


def _said(stuck: _Stuck, waiters: list[_Waiter], tasks: list[asyncio.Task[Any]]) -> Finding:
    first = waiters[0]
    program = program_of(stuck.pid)
    pipe = _NAMES.get(stuck.number, f"descriptor {stuck.number}")
    name, who = _who(first, tasks)
    at = first.place
    if at is None or not is_own(
        at.code
    ):  # a thread that runs a function of the library for a task, as `child.join`
        task = _served(first, tasks)
        at = at if task is None else place_in(await_chain(task)) or at
    place = f"{at.name}() at {where(at)}" if at is not None else "a call"
    if stuck.call == "write":
        how = (
            f"is blocked writing to its {pipe}, a pipe that is full and that nobody here reads, while {who} waits for "
            f"the child in {first.what}, in {place}"
        )
        cure = "Read it to its end meanwhile: use communicate(), or a task that reads, or send it to DEVNULL or a file."
    else:
        how = (
            f"waits for more, or for the end, of its {pipe}, a pipe that nobody here writes to or closes, while {who} "
            f"waits for the child in {first.what}, in {place}"
        )
        cure = "Close the pipe when all is written (stdin.close(), os.close()), or use communicate()."
    return Finding(
        code="PIPE_DEADLOCK",
        message=f"child process {stuck.pid} ({program}) {how}: each waits for the other. {cure}",
        severity="error",
        level="LIKELY",
        jobs=(name,),
        resource=f"{pipe} of {program}",
        location=location(at),
        since_s=None,
        evidence=(
            f"child {stuck.pid} is blocked in {stuck.call}() at descriptor {stuck.number}",
            *(f"{one.what} in {where(one.place)}" for one in waiters),
        ),
    )
