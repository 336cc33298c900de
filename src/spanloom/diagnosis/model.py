"""What a look sees: plain values, from which no object of the program can be reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = [
    "HELD",
    "Actor",
    "BatchView",
    "EndedTask",
    "FrameView",
    "Holder",
    "LoopView",
    "OwnFunction",
    "Resource",
    "Snapshot",
    "TaskView",
    "ThreadView",
    "Wait",
]

HELD: Final = frozenset({"lock", "semaphore", "limiter"})
"""Kinds of resources that tasks hold; one that runs at the moment of the look may, without that it could be seen."""
TaskState = Literal["running", "ready", "waiting"]
ActorKind = Literal[
    "timer", "callback", "io", "thread", "pool", "signal", "hook", "loop", "task", "caller", "outside"
]


@dataclass(frozen=True, slots=True)
class FrameView:
    """One frame of an await chain or of a thread's stack.

    Attributes:
        function: Qualified name of the function, as ``Cache.refresh``.
        file: Its file, as the code object has it.
        line: Line that is being executed or awaited.
        own: Whether it is the program's, and not that of the standard library, an installed package or
            spanloom.
    """

    function: str
    file: str
    line: int
    own: bool

    @property
    def location(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Wait:
    """What a suspended task waits for.

    Attributes:
        kind: ``"lock"``, ``"semaphore"``, ``"limiter"``, ``"event"``, ``"get"``, ``"put"``, ``"join"``,
            ``"condition"``, ``"barrier"``, ``"future"``, ``"task"``, ``"group"`` (gather, wait, TaskGroup,
            as_completed), ``"sleep"``, ``"io"``, or ``"loop"``: that somebody runs its loop, which nobody does.
        resource: Key of the resource, if there is one.
        targets: Keys of the tasks and futures waited for.
        needs: How many of `targets` it takes: ``"all"`` or ``"any"``.
        awaited: Identity of the future that wakes the task: the same one in two looks means it has not moved.
        deliberate: Whether the program says by its form that this is to wait for ever: what is awaited is
            made in the very expression that awaits it, so that nobody else can ever know it.
        cancels: Whether a cancellation of the task goes on to `targets`, as for ``await task`` and
            ``gather``, but not for ``asyncio.wait``.
    """

    kind: str
    resource: int | None = None
    targets: tuple[int, ...] = ()
    needs: Literal["all", "any"] = "all"
    awaited: int | None = None
    deliberate: bool = False
    cancels: bool = True


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task that has not ended.

    Attributes:
        key: Its identity in the snapshot.
        name: Name of the task; of a job, that of the job.
        label: What its author would call it: the name, or the function if the name is only ``Task-7``.
        function: Qualified name of its coroutine.
        state: ``"running"``, ``"ready"`` (to be resumed at one of the loop's next turns) or ``"waiting"``.
        loop: Key of its loop.
        chain: Its frames from the outside in, down to the last await.
        wait: What it waits for; ``None`` unless it waits.
        main: Whether the loop runs until this one is done.
        cancelling: How often its cancellation was requested and not taken back.
        depth: Index in `chain` of the frame that belongs to the program and is farthest in; -1 if there is
            none.
        batch: Key of the batch whose job it is, or ``None``.
        deadline: Whether a timer will wake or cancel it.
        starting: Name of the function of which it wants to start a job, for the pump of one of our runners.
        cancellers: Keys of the actors and tasks that have code before them that may cancel it.
        was: The kind of its wait when it was first seen, if it has moved while the look lasted.
        began: Whether this is the first that it awaits: then it has taken nothing yet that others could wait for.
    """

    key: int
    name: str
    label: str
    function: str
    state: TaskState
    loop: int
    chain: tuple[FrameView, ...]
    wait: Wait | None
    main: bool = False
    cancelling: int = 0
    depth: int = -1
    batch: int | None = None
    deadline: bool = False
    starting: str | None = None
    cancellers: frozenset[int] = frozenset()
    was: str | None = None
    began: bool = False

    @property
    def at(self) -> FrameView | None:
        """The program's own frame that is farthest in; the outermost one if none is the program's."""
        if self.depth >= 0:
            return self.chain[self.depth]
        return self.chain[0] if self.chain else None

    @property
    def kind(self) -> str:
        """What kind of thing it waits for, see `Wait`; empty unless it waits."""
        return "" if self.wait is None else self.wait.kind

    @property
    def targets(self) -> tuple[int, ...]:
        """Keys of the tasks and futures that it waits for."""
        return () if self.wait is None else self.wait.targets

    @property
    def deliberate(self) -> bool:
        """Whether the program says by its form that it is to wait for ever."""
        return self.wait is not None and self.wait.deliberate


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a resource.

    Attributes:
        task: Key of the task.
        location: ``file:line`` of the statement that took it; where that cannot be told, of the present one.
        function: Qualified name of the function that took it.
        sure: Whether it is read off the suspended frame; else it follows from the code before and after the
            await.
    """

    task: int
    location: str
    function: str
    sure: bool


@dataclass(frozen=True, slots=True)
class Resource:
    """A lock, semaphore, limiter, queue, event, condition, barrier or future that somebody waits for.

    Attributes:
        key: Its identity in the snapshot.
        kind: ``"lock"``, ``"semaphore"``, ``"limiter"``, ``"queue"``, ``"event"``, ``"condition"``,
            ``"barrier"``, ``"future"`` or ``"loop"``.
        type: Name of its class.
        name: What the program calls it, as ``Cache._refresh_lock``; the class's name if it has no name.
        holders: Who holds it, as far as can be seen; each as often as it does.
        waiters: Keys of the tasks that wait for it, the longest waiting first where that can be told.
        size: Slots of a limiter, bound of a queue (0: none), parties of a barrier; ``None`` if it cannot be
            told.
        used: Slots in use, items in a queue, tasks at a barrier; ``None`` if it cannot be told.
        free: Slots of a semaphore that can be had at once; ``None`` if it cannot be told.
        unfinished: Items of a queue that were put and not yet reported done.
        actors: Keys of the actors and tasks that know it and have code before them that gives what is waited
            for. With the key of the wait's kind where a resource can be waited for in several ways.
        takers: Keys of the tasks whose code takes items out of it, for a queue at which somebody waits for room:
            of `actors`, those of which the very calls are found. And for one of which items are missing.
        fresh: Of `takers` those that have not come to such a call yet.
        between: Of an empty queue of which items are missing, keys of those of `actors` that wait and take another item
            before they report one.
        known_to: Keys of the actors and tasks that can reach it at all.
        owed: Who gives what is waited for on leaving the blocks that it is in, as it has taken something of a pool
            that is made of this; asked only of what seems to be dead.
        location: ``file:line`` where it is made, if exactly one statement of the program makes one of that
            name.
    """

    key: int
    kind: str
    type: str
    name: str
    holders: tuple[Holder, ...] = ()
    waiters: tuple[int, ...] = ()
    size: int | None = None
    used: int | None = None
    free: int | None = None
    unfinished: int | None = None
    actors: dict[str, frozenset[int]] = field(default_factory=dict)
    takers: frozenset[int] = frozenset()
    fresh: frozenset[int] = frozenset()
    between: frozenset[int] = frozenset()
    known_to: frozenset[int] = frozenset()
    owed: tuple[Holder, ...] = ()
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Something besides tasks that can still make something happen.

    Attributes:
        key: Its identity in the snapshot.
        kind: ``"timer"``, ``"callback"``, ``"io"``, ``"thread"``, ``"pool"``, ``"signal"``, ``"hook"`` (what is told of
            failures), ``"loop"``, ``"caller"`` (the code that goes on when a loop's main task has ended) or
            ``"outside"`` (whoever has the references that are not accounted for).
        what: Function, file descriptor or thread that it is.
        needs: Keys of the tasks of which one has to be able to go on for this actor to act; empty: it acts by
            itself.
    """

    key: int
    kind: ActorKind
    what: str
    needs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ThreadView:
    """A thread of the program (not one of spanloom's own).

    Attributes:
        ident: As `threading.get_ident` gives it.
        name: Its name.
        frames: Its stack, outermost frame first.
        loop: Key of the loop that it runs, or ``None``.
        idle: Whether it is a thread of a pool that waits for work, or of a loop that waits for something to
            happen.
    """

    ident: int
    name: str
    frames: tuple[FrameView, ...]
    loop: int | None = None
    idle: bool = False


@dataclass(frozen=True, slots=True)
class LoopView:
    """An event loop.

    Attributes:
        key: Its identity in the snapshot.
        type: Name of its class with its module.
        thread: Ident of the thread that runs it; ``None`` if none does.
        main: Key of the task that it runs until, or ``None``.
    """

    key: int
    type: str
    thread: int | None
    main: int | None


@dataclass(frozen=True, slots=True)
class EndedTask:
    """A task that has ended, or a function that no task runs, and that others would have needed.

    Attributes:
        name: Name of the task; empty if it is not known any more.
        function: Qualified name of its function.
        error: Name of the type of the exception that it died of; ``None`` if it ended well or was cancelled.
        message: The exception's message, if that can be had without running the program's code.
        location: ``file:line`` where the exception was raised, or where it was when it was cancelled, if that is known.
        raised_in: Qualified name of the function there, if it is another than its own.
        cancelled: Whether it was cancelled.
        waited: Keys of the locks and the like that it has not got: it waited for them when it ended.
        gave: What it could have done, and of locks and the like also taken: ``(resource key, kind of wait)`` pairs.
        names: Names that its code uses (attributes, variables, functions).
        through: The same of each function that it may have called, as far as names tell.
        gone: Whether it exists no more.
    """

    name: str
    function: str
    error: str | None = None
    message: str | None = None
    location: str | None = None
    cancelled: bool = False
    waited: frozenset[int] = frozenset()
    gave: frozenset[tuple[int, str]] = frozenset()
    names: frozenset[str] = frozenset()
    through: tuple[frozenset[str], ...] = ()
    gone: bool = False
    raised_in: str = ""


@dataclass(frozen=True, slots=True)
class OwnFunction:
    """A function of the program's own.

    Attributes:
        name: Its qualified name, as its author calls it.
        names: Names that it uses itself.
    """

    name: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch of spanloom's own that is running.

    Attributes:
        key: Its event's id.
        name: Its name.
        total: How many jobs there will be, or ``None``.
        done: How many have ended.
        running: How many are running.
        age_s: Seconds since it started.
    """

    key: int
    name: str
    total: int | None
    done: int
    running: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one look has seen.

    Attributes:
        at_s: When, by `time.monotonic`.
        took_s: How long the look took.
        tasks: By key.
        resources: By key.
        actors: By key.
        threads: In no order.
        loops: By key.
        ended: What ended tasks could be found.
        functions: Those of the program's own that give what somebody may wait for, if it was asked for that.
        batches: Those that run.
        complete: Whether there was time to see everything. If not, nothing is called dead.
    """

    at_s: float
    took_s: float = 0.0
    tasks: dict[int, TaskView] = field(default_factory=dict)
    resources: dict[int, Resource] = field(default_factory=dict)
    actors: dict[int, Actor] = field(default_factory=dict)
    threads: tuple[ThreadView, ...] = ()
    loops: dict[int, LoopView] = field(default_factory=dict)
    ended: tuple[EndedTask, ...] = ()
    functions: tuple[OwnFunction, ...] = ()
    batches: tuple[BatchView, ...] = ()
    complete: bool = True
