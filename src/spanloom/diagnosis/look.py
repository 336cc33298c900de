"""One look at a program: from any thread, also while its loops are blocked.

It reads and changes nothing: no code of the program is run (no ``__repr__``, no property, no
``exception()``), no coroutine is resumed, and what was looked at is let go when the look ends. It gives the
interpreter to others as any Python code does, so the program moves on while it is looked at;
`spanloom.diagnosis.why` therefore looks twice.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from gc import get_referents
from typing import Any, Final, TypeVar

from spanloom.concurrency.task import JobTask
from spanloom.diagnosis.actors import Cast
from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.chain import Link, chain_of
from spanloom.diagnosis.ended import Ended
from spanloom.diagnosis.fields import field, future_done
from spanloom.diagnosis.graph import progress
from spanloom.diagnosis.holders import Held, Holding, lock_of
from spanloom.diagnosis.model import (
    EndedTask,
    FrameView,
    LoopView,
    Snapshot,
    TaskView,
    ThreadView,
    Wait,
)
from spanloom.diagnosis.origin import belongs_to_us, is_own, is_standard
from spanloom.diagnosis.outside import held_outside
from spanloom.diagnosis.reach import Budget, Reach
from spanloom.diagnosis.resources import Kept, describe
from spanloom.diagnosis.running import current_tasks, every_task, loop_of, running_threads
from spanloom.diagnosis.takers import taken_from
from spanloom.diagnosis.variables import variables_of
from spanloom.diagnosis.waits import GIVERS, RawWait, Table

__all__ = ["look"]

BUDGET: Final = 400_000
"""Objects that one look visits in search of who can still end a wait: about half a second."""
_ALONE: Final = 100
"""Tasks up to which each is asked by itself; more of the same function at the same place are asked together."""
_ASKED: Final = 300
"""Tasks of which the calls are looked for that take something out of a queue."""
_YIELD_MASK: Final = 15
"""The interpreter is offered to others when none of these bits is set in the number of tasks seen: every 0.5 ms."""
_AGAIN: Final = 5
_SHORT_S: Final = 0.0005
"""How often, and how far apart, a frame is read again that runs at the moment when it is read."""
_T = TypeVar("_T")
_NUMBERED: Final = re.compile(r"Task-\d+")


def look(remembered: Iterable[EndedTask] = ()) -> Snapshot:
    """Take a snapshot of all tasks of all loops, what they wait for, and who can still end that.

    Args:
        remembered: Ended tasks that somebody has taken note of, besides those that still exist.

    Returns:
        Plain values. The look takes about 25 microseconds a task, and keeps none of the program's objects.
    """
    one = _Look()
    try:
        return one.take(remembered)
    finally:
        one.forget()


class _Task:
    """A task while it is looked at."""

    __slots__ = (
        "cancellers",
        "coro",
        "held",
        "key",
        "leaf",
        "links",
        "loop",
        "main",
        "state",
        "task",
        "wait",
        "was",
    )

    def __init__(self, task: Any) -> None:
        self.task = task
        self.key = id(task)
        self.coro = field(task, "_coro")
        self.links: list[Link] = []
        self.leaf: Any = None
        self.wait: RawWait | None = None
        self.held: list[Held] = []
        self.main = False
        self.was: str | None = None
        self.loop: Any = None
        self.state = "waiting"
        self.cancellers: set[int] = set()


class _Look:
    def __init__(self) -> None:
        self.bytecode = Bytecode()
        self.holding = Holding(self.bytecode)
        self.table = Table()
        self.cast = Cast(self.bytecode)
        self.budget = Budget(BUDGET)
        self.tasks: dict[int, _Task] = {}
        self.kept: dict[int, Kept] = {}
        self.ended: list[Any] = []
        self.dead: set[int] = set()
        self.made: dict[tuple[int, int], bool] = {}
        self.frames: dict[tuple[int, int], FrameView] = {}

    def take(self, remembered: Iterable[EndedTask]) -> Snapshot:
        started = time.monotonic()
        threads = running_threads()
        loops = self._loops(threads)
        self._find_tasks(threads, loops)
        self._actors(threads, loops)
        for task in _yielding(self.tasks.values()):
            self._resources_of(task)
        snapshot = self._snapshot(started, threads, loops, tuple(remembered))
        live = progress(snapshot, cancels=False)
        undetermined = [task for key, task in self.tasks.items() if key not in live]
        told = [task for task in self.tasks.values() if task.wait is not None and task.wait.kind == "put"]
        self.dead = {task.key for task in (*undetermined, *told)}
        if undetermined or any(
            task.wait is not None and task.wait.kind == "put" for task in self.tasks.values()
        ):
            self._ask(undetermined)
            self._find_outside(frozenset(task.key for task in undetermined))
        elif not any(self._has_moved(task) for task in undetermined):
            return snapshot
        # Who has moved since it was seen is alive, whatever else was seen of it.
        for task in self.tasks.values():
            if task.state == "waiting" and self._has_moved(task):
                self._see_again(task)
        self._see_new(loops)
        return self._snapshot(started, threads, loops, tuple(remembered))

    def _see_again(self, seen: _Task) -> None:
        """Take a task that has moved for one that can go on, with what it holds now."""
        seen.was = None if seen.wait is None else seen.wait.kind
        seen.state, seen.wait = "ready", None
        seen.links, seen.leaf = chain_of(seen.coro)
        seen.held = list(self.holding.held(seen.links))
        if _is_running(seen.coro):
            seen.state = "running"
        for held in seen.held:
            self._keep(held.resource, "held").held.append((seen.key, held))

    def _see_new(self, loops: dict[int, tuple[Any, int | None, Any]]) -> None:
        """Add tasks that were made while the others were looked at: they may have taken what others wait for."""
        for task in _yielding(every_task()):
            if id(task) not in self.tasks and not future_done(task) and id(loop_of(task)) in loops:
                seen = self.tasks[id(task)] = _Task(task)
                seen.loop = loop_of(task)
                self._see_again(seen)

    def forget(self) -> None:
        """Let go of what was looked at little by little: all at once would hold the interpreter."""
        for key in _yielding(list(self.tasks)):
            del self.tasks[key]

    @staticmethod
    def _has_moved(seen: _Task) -> bool:
        return (
            future_done(seen.task)
            or field(seen.task, "_fut_waiter") is not seen.leaf
            or future_done(seen.leaf)
            or bool(field(seen.task, "_must_cancel"))
        )

    # what there is ----------------------------------------------------------------------------------------

    def _loops(self, threads: Sequence[Any]) -> dict[int, tuple[Any, int | None, Any]]:
        found: dict[int, tuple[Any, int | None, Any]] = {}
        for thread in threads:
            if thread.loop is not None:
                found[id(thread.loop)] = thread.loop, thread.ident, thread.main
        return found

    def _find_tasks(self, threads: Sequence[Any], loops: dict[int, tuple[Any, int | None, Any]]) -> None:
        current = current_tasks()
        for task in _yielding(every_task()):
            if future_done(task):
                self.ended.append(task)
                continue
            loop = loop_of(task)
            if id(loop) not in loops:
                if loop.is_closed():
                    continue
                loops[id(loop)] = loop, None, None
            seen = _Task(task)
            seen.loop = loop
            seen.main = loops[id(loop)][2] is task or _runs_until(task)
            if seen.main and loops[id(loop)][2] is None:
                loops[id(loop)] = loop, loops[id(loop)][1], task
            self._see(
                seen, current.get(id(loop)) is task, loops[id(loop)][1] is not None or loop.is_running()
            )
            self.tasks[seen.key] = seen

    def _see(self, seen: _Task, running: bool, moving: bool) -> None:
        waiter = field(seen.task, "_fut_waiter")
        if running:
            seen.state = "running"
            seen.links, seen.leaf = chain_of(seen.coro)
            return
        seen.links, seen.leaf = chain_of(seen.coro)
        if waiter is None or future_done(waiter) or field(seen.task, "_must_cancel") or not moving:
            seen.state = "ready"
            seen.held = list(self.holding.held(seen.links))
            return
        if seen.leaf is None or seen.leaf is not waiter:
            seen.leaf = waiter
        seen.held = list(self.holding.held(seen.links))

    # what is waited for -----------------------------------------------------------------------------------

    def _actors(self, threads: Sequence[Any], loops: dict[int, tuple[Any, int | None, Any]]) -> None:
        """Find who acts.

        In the order in which a call passes from hand to hand, so that none is missed on its way: from the queue of a
        pool to a thread, from there to the loop, and to the task that waits, which is looked at again in the end.
        """
        own = threading.get_ident()
        for thread in threads:
            self.cast.pool(thread)
        self.cast.starting()
        for thread in running_threads():
            self.cast.pool(thread)
            mains = [key for key, task in self.tasks.items() if task.main and task.loop is thread.loop]
            with suppress(RuntimeError):
                self.cast.thread(thread, own, mains)
        for loop, _, _ in loops.values():
            self.cast.loop(loop)
        self.cast.signals()
        self.cast.settle()

    def _resources_of(self, seen: _Task) -> None:
        for held in seen.held:
            self._keep(held.resource, "held").held.append((seen.key, held))
        if seen.state != "waiting":
            return
        if id(seen.leaf) in self.cast.woken:
            seen.wait = self.table.timed(seen.links, seen.leaf)
            return
        wait = seen.wait = self.table.classify(seen.links, seen.leaf)
        if wait.kind == "completed":
            wait = seen.wait = wait._replace(targets=self._completing(wait.resource))
        if wait.resource is not None and wait.kind != "completed":
            resource = (
                lock_of(wait.resource) if wait.kind in {"lock", "semaphore", "limiter"} else wait.resource
            )
            seen.wait = wait = wait._replace(resource=resource)
            self._keep(resource, wait.kind).waiting.append((seen.key, wait.kind))
        for target in wait.targets:
            if id(target) not in self.tasks and not future_done(target):
                self._keep(target, "future")

    def _keep(self, value: Any, kind: str) -> Kept:
        kept = self.kept.get(id(value))
        if kept is None:
            kept = self.kept[id(value)] = Kept(value)
        return kept

    def _completing(self, queue: Any) -> tuple[Any, ...]:
        """Return the tasks whose done-callbacks put into the queue that `as_completed` waits at."""
        return tuple(
            seen.task
            for seen in self.tasks.values()
            for callback, _ in field(seen.task, "_callbacks") or ()
            for cell in getattr(callback, "__closure__", None) or ()
            if cell.cell_contents is queue
        )

    # who can still end it ---------------------------------------------------------------------------------

    def _ask(self, undetermined: Sequence[_Task]) -> None:
        """Compute for each resource who can still end a wait for it."""
        owned = frozenset(id(link.owner) for seen in self.tasks.values() for link in seen.links)
        owned |= frozenset(id(seen.coro) for seen in self.tasks.values())
        wanted = [kept for kept in self.kept.values() if kept.waiting or kept.is_future]
        for key, play in self.cast.plays.items():
            reach = Reach(self.bytecode, self.budget, owned)
            play(reach)
            self._note((key,), reach, wanted, undetermined, explicit=True)
        for members in self._groups():
            reach = Reach(self.bytecode, self.budget, owned, _contexts(members))
            for seen in members:
                self._play(seen, reach)
            self._note([seen.key for seen in members], reach, wanted, undetermined, explicit=True)
        self._find_takers(wanted)
        self._ended = Ended(self.bytecode, self.budget, owned)
        self._ended.read(self.ended, wanted)

    def _find_takers(self, wanted: Sequence[Kept]) -> None:
        """Find of the queues at which somebody waits for room the tasks that take something out."""
        queues = {id(kept.value): kept for kept in wanted if "put" in kept.kinds()}
        able = dict.fromkeys(
            key for kept in queues.values() for key in kept.actors["put"] if key in self.tasks
        )
        for key in _yielding(list(able)[:_ASKED]):
            for value in taken_from(self.bytecode, self.tasks[key].links):
                kept = queues.get(id(value))
                if kept is not None:
                    kept.takers.add(key)

    def _find_outside(self, undetermined: frozenset[int]) -> None:
        """Find the futures that only dead tasks might resolve, and that somebody who was not asked may have."""
        orphans = [
            kept for kept in self.kept.values() if kept.is_future and kept.actors["future"] <= undetermined
        ]
        if not orphans:
            return
        frames = [frame for thread in running_threads() for frame in thread.frames]
        found = held_outside((kept.value for kept in orphans), frames)
        if found:
            somebody = self.cast.outside()
            for kept in orphans:
                if id(kept.value) in found:
                    kept.actors["future"].add(somebody)

    def _groups(self) -> list[list[_Task]]:
        if len(self.tasks) <= _ALONE:
            return [[seen] for seen in self.tasks.values()]
        groups: dict[tuple[Any, ...], list[_Task]] = defaultdict(list)
        for seen in self.tasks.values():
            groups[tuple((id(link.code), link.frame.f_lasti) for link in seen.links)].append(seen)
        return list(groups.values())

    def _play(self, seen: _Task, reach: Reach) -> None:
        """Add what a task brings: its frames, and what is called when it ends."""
        for link in seen.links:
            values = _suspended_values(link)
            if is_standard(link.code.co_filename):
                reach.value(*values)
                continue
            ahead = self.bytecode.ahead(link.code, link.frame.f_lasti)
            variables = variables_of(link.frame, link.owner)
            gone = [id(value) for name, value in variables.items() if name not in ahead.variables]
            skipped = {id(link.frame), id(link.code), id(getattr(link.owner, "cr_origin", None))}
            kept = []
            for value in values:
                if id(value) in gone:
                    gone.remove(id(value))
                elif (
                    id(value) not in skipped and value is not link.frame.f_globals and value is not variables
                ):
                    kept.append(value)
            reach.frame(ahead, link.frame.f_globals, [one for one in kept if not _is_function_of(one, link)])
            del values, variables, kept
        for callback, _ in field(seen.task, "_callbacks") or ():
            reach.callback(callback, ())

    def _note(
        self,
        keys: Sequence[int],
        reach: Reach,
        wanted: Sequence[Kept],
        undetermined: Sequence[_Task],
        *,
        explicit: bool,
    ) -> None:
        for kept in wanted:
            if id(kept.value) in reach.objects or any(
                (id(kept.value), name) in reach.gives for name in _ANY_GIVER
            ):
                kept.known_to.update(keys)
                for kind in kept.kinds():
                    if reach.can(kept.value, GIVERS.get(kind)):
                        kept.actors[kind].update(keys)
        if explicit and ("cancel" in reach.calm or reach.dynamic or reach.gives):
            for seen in undetermined:
                task = seen.key
                if (task, "cancel") in reach.gives or (task in reach.objects and "cancel" in reach.calm):
                    seen.cancellers.update(key for key in keys if key != task)

    # the snapshot -----------------------------------------------------------------------------------------

    def _snapshot(
        self,
        started: float,
        threads: Sequence[Any],
        loops: dict[int, tuple[Any, int | None, Any]],
        remembered: tuple[EndedTask, ...],
    ) -> Snapshot:
        tasks = {seen.key: self._task_view(seen) for seen in _yielding(self.tasks.values())}
        links = {key: seen.links for key, seen in self.tasks.items()}
        resources = {key: describe(kept, links, self.dead) for key, kept in self.kept.items()}
        ended = getattr(self, "_ended", None)
        now = time.monotonic()
        return Snapshot(
            at_s=now,
            took_s=now - started,
            tasks=tasks,
            resources=resources,
            actors=dict(self.cast.actors),
            threads=tuple(_thread_view(thread) for thread in threads),
            loops={
                key: LoopView(
                    key,
                    f"{type(loop).__module__}.{type(loop).__qualname__}",
                    ident,
                    None if main is None else id(main),
                )
                for key, (loop, ident, main) in loops.items()
            },
            ended=(*(() if ended is None else ended.found), *remembered),
            complete=not self.budget.spent,
        )

    def _task_view(self, seen: _Task) -> TaskView:
        chain = tuple(self._frame_view(link) for link in seen.links)
        depth = max((at for at, frame in enumerate(chain) if frame.own), default=-1)
        outer = next((frame.function for frame in chain if frame.own), chain[0].function if chain else "")
        name = asyncio.Task.get_name(seen.task)
        batch = None
        if type(seen.task) is JobTask:
            job = getattr(seen.task, "job", None)
            name = f"{name}[{job.index}]" if job is not None else name
        wait = seen.wait
        view = None
        if wait is not None:
            view = Wait(
                wait.kind,
                None if wait.resource is None else id(wait.resource),
                tuple(id(target) for target in wait.targets if not future_done(target)),
                wait.needs,
                id(seen.leaf),
                deliberate=self._is_deliberate(seen),
                cancels=not any(link.code.co_name == "_wait" for link in seen.links),
            )
        return TaskView(
            key=seen.key,
            name=name,
            label=outer if _NUMBERED.fullmatch(name) else name,
            function=outer,
            state=seen.state,  # type: ignore[arg-type] # one of the three
            loop=id(seen.loop),
            chain=chain,
            wait=view,
            main=seen.main,
            cancelling=int(seen.task.cancelling()),
            depth=depth,
            batch=batch,
            starting=_starting(seen.links),
            deadline=seen.key in self.cast.due or (wait is not None and id(seen.leaf) in self.cast.woken),
            cancellers=frozenset(seen.cancellers),
            was=seen.was,
        )

    def _frame_view(self, link: Link) -> FrameView:
        code, line = link.code, link.frame.f_lineno or 0
        found = self.frames.get((id(code), line))
        if found is None:
            found = FrameView(code.co_qualname, code.co_filename, line, is_own(code.co_filename))
            self.frames[id(code), line] = found
        return found

    def _is_deliberate(self, seen: _Task) -> bool:
        """Return whether the innermost frame of the program's makes what it awaits in the same expression."""
        for link in reversed(seen.links):
            if is_own(link.code.co_filename):
                key = id(link.code), link.frame.f_lasti
                if key not in self.made:
                    self.made[key] = self._makes_awaited(link)
                return self.made[key]
        return False

    def _makes_awaited(self, link: Link) -> bool:
        names: list[str] = []
        for instruction in self.bytecode.instructions(link.code):
            if instruction.offset > link.frame.f_lasti:
                break
            if instruction.opname.startswith("STORE") or instruction.opname in {
                "POP_TOP",
                "RESUME",
                "BEFORE_ASYNC_WITH",
            }:
                if instruction.offset < link.frame.f_lasti:
                    names.clear()
            elif type(instruction.argval) is str and instruction.opname.startswith("LOAD_"):
                names.append(instruction.argval)
        made = names[-2:] if names and names[-1] == "wait" else names[-1:]
        return bool({"Event", "create_future", "Future"} & set(made))


_ANY_GIVER: Final = frozenset(name for names in GIVERS.values() if names is not None for name in names)


def _yielding(values: Iterable[_T]) -> Iterator[_T]:
    """Yield `values`, and the interpreter to other threads now and then: sooner than it would be taken away."""
    for number, value in enumerate(values):
        if not number & _YIELD_MASK:
            time.sleep(0)
        yield value


def _suspended_values(link: Link) -> list[Any]:
    """Return what the frame of `link` refers to.

    While it runs, that cannot be seen from outside of it: then its variables, and what it calls is found with them.
    """
    for _ in range(_AGAIN):
        values = get_referents(link.owner)
        if not _is_running(link.owner):
            return values
        del values
        time.sleep(_SHORT_S)
    return [*get_referents(link.owner), *variables_of(link.frame, link.owner).values()]


def _is_running(owner: Any) -> bool:
    """Return whether a coroutine or generator runs at this moment, in the loop's thread."""
    return bool(
        getattr(owner, "cr_running", False)
        or getattr(owner, "gi_running", False)
        or getattr(owner, "ag_running", False)
    )


def _is_function_of(value: Any, link: Link) -> bool:
    """Return whether `value` is the function that the frame runs: its code is known by what is ahead of it."""
    return getattr(value, "__code__", None) is link.code


def _contexts(members: Sequence[_Task]) -> list[Any]:
    found = []
    for seen in members:
        reader = getattr(seen.task, "get_context", None)  # 3.12
        if reader is not None:
            found.append(reader())
    return found


def _starting(links: Sequence[Link]) -> str | None:
    """Return what one of our runners, waiting for a slot, wants to start."""
    for link in links:
        if link.code.co_name == "_fill_waiting" and belongs_to_us(link.code.co_filename):
            scope = field(variables_of(link.frame, link.owner).get("self"), "_scope")
            family = field(scope, "family")
            name = field(family, "name") or field(scope, "job_name")
            return name if type(name) is str else None
    return None


def _runs_until(task: Any) -> bool:
    """Return whether `run_until_complete` waits for the task."""
    for callback, _ in field(task, "_callbacks") or ():
        name = getattr(callback, "__name__", "") or type(callback).__name__
        if "run_until_complete" in name or "run_until_complete" in getattr(callback, "__qualname__", ""):
            return True
    return False


def _thread_view(thread: Any) -> ThreadView:
    frames = tuple(
        FrameView(
            frame.f_code.co_qualname,
            frame.f_code.co_filename,
            frame.f_lineno or 0,
            is_own(frame.f_code.co_filename),
        )
        for frame in reversed(thread.frames)
    )
    loop = None if thread.loop is None else id(thread.loop)
    return ThreadView(thread.ident, thread.name, frames, loop, idle=False)
