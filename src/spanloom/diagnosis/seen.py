"""A task while a look lasts: where it stands, what it waits for, and what it holds."""

from __future__ import annotations

from types import CoroutineType
from typing import Any, Final

from spanloom.diagnosis.chain import Link, chain_of
from spanloom.diagnosis.fields import field, future_done
from spanloom.diagnosis.holders import Held, Holding
from spanloom.diagnosis.model import TaskState, TaskView
from spanloom.diagnosis.resting import is_run
from spanloom.diagnosis.waits import RawWait

__all__ = ["Seen", "is_running"]

_RUNNING: Final = ("cr_running", "gi_running", "ag_running")


class Seen:
    """What one look knows of a task.

    Args:
        task: The task.
        loop: Its loop.

    Attributes:
        key: Its identity.
        coro: What it runs.
        main: Whether its loop runs until it is done.
        rests: Whether no thread runs its loop.
        state: As of the last look at it, see `spanloom.diagnosis.model.TaskView`.
        links: Its await chain, outermost frame first.
        leaf: What the chain ends at: the future that will wake it.
        held: What the frames of the chain hold.
        wait: What it waits for; ``None`` unless it waits.
        was: The kind of its wait when it was first seen, if it has moved since.
        cancellers: Numbers of the crowds that may cancel it.
        view: Its last view, until something changes.
    """

    __slots__ = (
        "cancellers",
        "coro",
        "held",
        "key",
        "leaf",
        "links",
        "loop",
        "main",
        "rests",
        "state",
        "task",
        "view",
        "wait",
        "was",
    )

    def __init__(self, task: Any, loop: Any) -> None:
        self.task: Any = task
        self.loop: Any = loop
        self.key: int = id(task)
        self.coro: Any = field(task, "_coro")
        self.main: bool = False
        self.rests: bool = False
        self.state: TaskState = "waiting"
        self.links: list[Link] = []
        self.leaf: Any = None
        self.held: list[Held] = []
        self.wait: RawWait | None = None
        self.was: str | None = None
        self.cancellers: list[int] = []
        self.view: TaskView | None = None

    def look(self, holding: Holding, *, running: bool, moving: bool) -> None:
        """Read its state, await chain and what it holds.

        Args:
            holding: Finds what frames hold.
            running: Whether its loop runs it at this moment: then what it holds cannot be read.
            moving: Whether any thread runs its loop; if not, it counts as ready.
        """
        waiter = field(self.task, "_fut_waiter")
        self.links, self.leaf = chain_of(self.coro)
        if running:
            self.state = "running"
            return
        if waiter is None or future_done(waiter) or field(self.task, "_must_cancel") or not moving:
            self.state = "ready"
        elif self.leaf is not waiter:
            self.leaf = waiter
        self.held = list(holding.held(self.links))

    def look_again(self, holding: Holding) -> None:
        """Count it as able to progress, as it has moved or is new, and read what it holds now."""
        self.view = None
        self.rests = False
        self.was = None if self.wait is None else self.wait.kind
        self.wait = None
        self.links, self.leaf = chain_of(self.coro)
        self.held = list(holding.held(self.links))
        self.state = "running" if is_running(self.coro) else "ready"

    @property
    def has_moved(self) -> bool:
        """Whether it no longer waits for what it was seen to wait for; if it rested: whether its loop runs by now."""
        if self.rests:
            return is_run(self.loop) or future_done(self.task)
        return self.state == "waiting" and (
            future_done(self.task)
            or field(self.task, "_fut_waiter") is not self.leaf
            or future_done(self.leaf)
            or bool(field(self.task, "_must_cancel"))
        )


def is_running(owner: Any) -> bool:
    """Return whether a coroutine or generator runs at this moment, in the loop's thread."""
    if type(owner) is CoroutineType:
        return owner.cr_running
    return any(field(owner, name) for name in _RUNNING)
