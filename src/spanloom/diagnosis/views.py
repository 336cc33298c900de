"""From what a look has seen to the plain values of `spanloom.diagnosis.model`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final, NamedTuple

from spanloom.concurrency.names import bare_name
from spanloom.concurrency.task import JobTask
from spanloom.diagnosis.actors import Cast
from spanloom.diagnosis.ahead import Bytecode
from spanloom.diagnosis.before import has_awaited
from spanloom.diagnosis.chain import Link, line_of
from spanloom.diagnosis.crowds import Crowds
from spanloom.diagnosis.fields import field, future_done, task_cancelling
from spanloom.diagnosis.model import FrameView, LoopView, TaskView, ThreadView, Wait
from spanloom.diagnosis.origin import belongs_to_us, is_own, is_standard
from spanloom.diagnosis.pace import in_slices
from spanloom.diagnosis.running import Running
from spanloom.diagnosis.seen import Seen
from spanloom.diagnosis.variables import variables_of

__all__ = ["Views", "chain_for"]

_NUMBERED: Final = re.compile(r"Task-\d+")
_MAKERS: Final = frozenset({"Event", "create_future", "Future"})
_ENDS: Final = frozenset({"POP_TOP", "RESUME", "BEFORE_ASYNC_WITH", "LOAD_SPECIAL"})
"""Instructions after which another expression begins."""


class _Chain(NamedTuple):
    """What is said of an await chain.

    Attributes:
        frames: Its frames, outermost first.
        depth: Index of the innermost frame of the program's own; -1 if there is none.
        function: Name of the function of the outermost frame of the program's own, or else of the outermost frame.
        began: Whether its present await is its first.
    """

    frames: tuple[FrameView, ...]
    depth: int
    function: str
    began: bool = False


class Views:
    """Makes views of tasks, threads and loops. Tasks at the same place share one description of their await chain.

    Args:
        bytecode: Analyses of code, shared by the look.
        cast: Knows what timers wake and cancel.
        crowds: The crowds that cancellers are numbers of.
    """

    def __init__(self, bytecode: Bytecode, cast: Cast, crowds: Crowds) -> None:
        self._bytecode = bytecode
        self._cast = cast
        self._crowds = crowds
        self._made: dict[tuple[int, int], bool] = {}
        self._chains: dict[tuple[tuple[int, int, str], ...], _Chain] = {}

    def task(self, seen: Seen) -> TaskView:
        """Return the view of a task: its last one, unless its cancellers or its targets may have changed since."""
        view = seen.view
        if view is None or seen.cancellers or (view.wait is not None and view.wait.targets):
            view = seen.view = self._task(seen)
        return view

    def thread(self, running: Running) -> ThreadView:
        """Return the view of a thread."""
        frames = tuple(_frame(frame, frame.f_code.co_qualname) for frame in reversed(running.frames))
        loop = None if running.loop is None else id(running.loop)
        return ThreadView(running.ident, running.name, frames, loop, idle=False)

    def loop(self, loop: Any, thread: int | None, main: Any) -> LoopView:
        """Return the view of a loop, with the ident of its thread and its main task, if there are any."""
        name = f"{type(loop).__module__}.{type(loop).__qualname__}"
        return LoopView(id(loop), name, thread, None if main is None else id(main))

    def _task(self, seen: Seen) -> TaskView:
        chain = self._chain(chain_for(seen, self._cast))
        name = asyncio.Task.get_name(seen.task)
        if type(seen.task) is JobTask:
            job = field(seen.task, "job")
            name = f"{name}[{job.index}]" if job is not None else name
        return TaskView(
            key=seen.key,
            name=name,
            label=_label(name, chain, seen.task),
            function=chain.function,
            state=seen.state,
            loop=id(seen.loop),
            chain=chain.frames,
            wait=self._wait(seen),
            main=seen.main,
            cancelling=task_cancelling(seen.task),
            depth=chain.depth,
            starting=_starting(seen.links),
            deadline=not seen.rests
            and (seen.key in self._cast.due or (seen.wait is not None and id(seen.leaf) in self._cast.woken)),
            cancellers=self._crowds.members(seen.cancellers),
            was=seen.was,
            began=chain.began,
        )

    def _wait(self, seen: Seen) -> Wait | None:
        wait = seen.wait
        if wait is None:
            return None
        return Wait(
            wait.kind,
            None if wait.resource is None else id(wait.resource),
            tuple(id(target) for target in in_slices(wait.targets) if not future_done(target)),
            wait.needs,
            id(seen.leaf),
            deliberate=self._is_deliberate(seen),
            cancels=wait.cancels and not any(link.code.co_name == "_wait" for link in seen.links),
        )

    def _chain(self, links: Sequence[Link]) -> _Chain:
        key = tuple(
            (id(link.code), link.frame.f_lasti, getattr(link.owner, "__qualname__", "")) for link in links
        )
        found = self._chains.get(key)
        if found is None:
            frames = tuple(_frame(link.frame, link.function) for link in links)
            depth = max((at for at, frame in enumerate(frames) if frame.own), default=-1)
            outer = next((frame.function for frame in frames if frame.own), None)
            began = bool(links) and not any(map(self._has_awaited, links))
            found = _Chain(frames, depth, outer or (frames[0].function if frames else ""), began)
            self._chains[key] = found
        return found

    def _has_awaited(self, link: Link) -> bool:
        if is_standard(link.code.co_filename):  # an await in there is part of the await of its caller
            return False
        return has_awaited(self._bytecode.instructions(link.code), link.frame.f_lasti)

    def _is_deliberate(self, seen: Seen) -> bool:
        """Return whether the program's innermost frame makes what it awaits in the same expression, see `Wait`."""
        for link in reversed(seen.links):
            if is_own(link.code.co_filename):
                key = id(link.code), link.frame.f_lasti
                if key not in self._made:
                    self._made[key] = self._makes_awaited(link)
                return self._made[key]
        return False

    def _makes_awaited(self, link: Link) -> bool:
        names: list[str] = []
        for instruction in self._bytecode.instructions(link.code):
            if instruction.offset > link.frame.f_lasti:
                break
            if instruction.opname.startswith("STORE") or instruction.opname in _ENDS:
                if instruction.offset < link.frame.f_lasti:
                    names.clear()
            elif type(instruction.argval) is str and instruction.opname.startswith("LOAD_"):
                names.append(instruction.argval)
        made = names[-2:] if names and names[-1] == "wait" else names[-1:]
        return not _MAKERS.isdisjoint(made)


def _label(name: str, chain: _Chain, task: asyncio.Task[Any]) -> str:
    if not _NUMBERED.fullmatch(name):
        return name
    if chain.function:
        return chain.function
    # It runs, or has not started: there is no chain to read.
    function = field(field(task, "_coro"), "__qualname__")
    return bare_name(function) if type(function) is str else name


def chain_for(seen: Seen, cast: Cast) -> list[Link]:
    """Return the await chain of a task.

    One without code of the program's own, as of ``run_coroutine_threadsafe(queue.put(item), loop).result()``, gets the
    program's frames of the thread that waits for it in front.
    """
    called_from = cast.called_from.get(seen.key)
    if not called_from or any(is_own(link.code.co_filename) for link in seen.links):
        return seen.links
    return [*called_from, *seen.links]


def _frame(frame: FrameType, function: str) -> FrameView:
    code = frame.f_code
    return FrameView(function, code.co_filename, line_of(frame), is_own(code.co_filename))


def _starting(links: Sequence[Link]) -> str | None:
    """Return the name of the job that one of our runners wants to start while it waits for a slot; else ``None``."""
    for link in links:
        if link.code.co_name == "_fill_waiting" and belongs_to_us(link.code.co_filename):
            scope = field(variables_of(link.frame, link.owner).get("self"), "_scope")
            family = field(scope, "family")
            name = field(family, "name") or field(scope, "job_name")
            return name if type(name) is str else None
    return None
