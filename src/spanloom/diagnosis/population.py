"""All event loops and their tasks."""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType
from typing import Any, Final, NamedTuple

from spanloom.diagnosis.fields import callbacks_of, field, future_done, is_task
from spanloom.diagnosis.holders import Holding
from spanloom.diagnosis.pace import in_slices
from spanloom.diagnosis.registry import current_tasks, every_task, known_loops, live_refs, meet
from spanloom.diagnosis.resting import may_rest, rests
from spanloom.diagnosis.running import Running, loop_of
from spanloom.diagnosis.seen import Seen

__all__ = ["Population", "runs_until"]

_COMPILED: Final = frozenset({"builtin_function_or_method", "cython_function_or_method"})
"""Types of uvloop's callbacks; of any other type, ``__qualname__`` might be a property of the program's."""


class _Loop(NamedTuple):
    """A loop, the ident of the thread that runs it, and the task that it runs until."""

    loop: Any
    thread: int | None
    main: Any


class Population:
    """All tasks of all loops, at one moment.

    Args:
        holding: Finds what their frames hold.

    Attributes:
        holding: The same.
        loops: By identity.
        tasks: Those that have not ended, by identity.
        ended: Those that have ended and still exist.
    """

    def __init__(self, holding: Holding) -> None:
        self.loops: dict[int, _Loop] = {}
        self.tasks: dict[int, Seen] = {}
        self.ended: list[Any] = []
        self.holding = holding

    def find(self, threads: Iterable[Running]) -> None:
        """Find all loops and tasks, and look at each task."""
        for thread in threads:
            if thread.loop is not None:
                self.loops[id(thread.loop)] = _Loop(thread.loop, thread.ident, thread.main)
        meet(home.loop for home in self.loops.values())
        for loop in known_loops():  # one that no thread runs, and that has no task, may have callbacks
            self.loops.setdefault(id(loop), _Loop(loop, None, None))
        current = current_tasks()
        for task in in_slices(every_task()):
            if future_done(task):
                self.ended.append(task)
                continue
            loop = loop_of(task)
            if id(loop) not in self.loops:
                if loop.is_closed():
                    continue
                self.loops[id(loop)] = _Loop(loop, None, None)
            home = self.loops[id(loop)]
            seen = Seen(task, loop)
            seen.main = home.main is task or runs_until(task)
            if seen.main and home.main is None:
                self.loops[id(loop)] = home._replace(main=task)
            seen.look(
                self.holding,
                running=current.get(id(loop), (None, None))[1] is task,
                moving=home.thread is not None or loop.is_running(),
            )
            self.tasks[seen.key] = seen

    def find_resting(self, threads: Iterable[Running]) -> dict[int, int]:
        """Find the loops that no thread runs, and mark their tasks as resting.

        Args:
            threads: The threads that were asked: a loop that one of them runs by now is left out.

        Returns:
            By identity of each such loop that has a task: the key of its last one.
        """
        run = {id(thread.loop) for thread in threads}
        idle = {
            key
            for key, home in self.loops.items()
            if home.thread is None and key not in run and rests(home.loop)
        }
        found: dict[int, int] = {}
        if idle and may_rest():
            for seen in in_slices(self.tasks.values()):
                if id(seen.loop) in idle and seen.state == "ready":
                    seen.rests = True
                    found[id(seen.loop)] = seen.key
        return found

    def look_again(self) -> list[Seen]:
        """Look again at the tasks that have moved meanwhile, and at new ones, and return them.

        A task that has moved is alive, whatever it waited for. A new one may have taken what others wait for.
        """
        found = [seen for seen in in_slices(self.tasks.values()) if seen.has_moved]
        meet(home.loop for home in self.loops.values())
        for task in in_slices([task for ref in live_refs() if (task := ref()) is not None and is_task(task)]):
            if id(task) not in self.tasks and not future_done(task) and id(loop_of(task)) in self.loops:
                seen = self.tasks[id(task)] = Seen(task, loop_of(task))
                found.append(seen)
        self.see_again(found)
        return found

    def see_again(self, moved: Iterable[Seen]) -> None:
        """Look again at tasks that have moved, or that are new."""
        for seen in in_slices(moved):
            seen.look_again(self.holding)


def runs_until(task: Any) -> bool:
    """Return whether `run_until_complete` waits for the task, judged by its done-callbacks."""
    for callback in callbacks_of(task):
        is_function = type(callback) is FunctionType or type(callback).__name__ in _COMPILED
        name: str = field(callback, "__qualname__") if is_function else type(callback).__name__
        if "run_until_complete" in name:
            return True
    return False
