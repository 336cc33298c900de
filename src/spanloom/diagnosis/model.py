"""The snapshot that a look takes: plain values. They hold no reference to any object of the program.

A *key* is the identity of a task or resource; that of an actor is negative, so the two never collide.
"""

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
"""Kinds of resources that tasks hold. A task that runs during the look may hold one unseen: its stack is not read."""
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
        own: Whether the code is the program's own: not the standard library, an installed package or spanloom.
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
            as_completed), ``"completed"`` (as_completed before Python 3.13, whose targets cannot be read),
            ``"sleep"``, ``"io"``, or ``"loop"``: no thread runs its loop, and it waits until one does.
        resource: Key of the resource, if there is one.
        targets: Keys of the tasks and futures waited for.
        needs: Whether ``"all"`` of `targets` have to end (an AND node of the wait-for graph) or ``"any"`` (OR).
        awaited: Identity of the future that wakes the task: the same one in two looks means it has not moved.
        deliberate: Whether the wait is meant to last for ever, as ``await asyncio.Event().wait()``: the object is
            made in the expression that awaits it, so that nobody else can ever reach it.
        cancels: Whether cancelling the task cancels `targets`, as with ``await task`` and ``gather``, but not with
            ``asyncio.wait`` or ``shield``.
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
        chain: Its await chain, outermost frame first.
        wait: What it waits for; ``None`` unless it waits.
        main: Whether the loop runs until this one is done.
        cancelling: As `asyncio.Task.cancelling`: requests to cancel it, less those taken back by ``uncancel``.
        depth: Index in `chain` of the innermost frame of the program's own code; -1 if there is none.
        batch: Key of the batch whose job it is, or ``None``.
        deadline: Whether a timer will wake or cancel it.
        starting: For the task in which one of our runners starts jobs: name of the function that it starts next.
        cancellers: Keys of the actors and tasks that may still run code which cancels it.
        was: The kind of its wait when it was first seen, if it moved while the look lasted.
        began: Whether this is its first await: then it holds nothing yet that others could wait for.
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
        """The innermost frame of the program's own code; the outermost frame if none is the program's."""
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
        """Whether it is meant to wait for ever, see `Wait`."""
        return self.wait is not None and self.wait.deliberate


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a resource.

    Attributes:
        task: Key of the task.
        location: ``file:line`` of the statement that took it; if that is not known, of the line it waits at.
        function: Qualified name of the function that took it.
        sure: Whether it was read from the value stack of the suspended frame; if not, it is inferred from the
            bytecode around the await.
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
        holders: Who holds it, as far as can be seen: one entry for each permit.
        waiters: Keys of the tasks that wait for it, the longest waiting first if the order is known.
        size: Slots of a limiter, bound of a queue (0: none), parties of a barrier; ``None`` if unknown.
        used: Slots in use, items in a queue, tasks at a barrier; ``None`` if unknown.
        free: Slots of a semaphore that can be had at once; ``None`` if unknown.
        unfinished: Items of a queue that were put and not yet reported by ``task_done()``.
        actors: By kind of wait: keys of the *givers*, the actors and tasks that can reach the resource and may still
            run code that ends such a wait (calls ``release()``, ``set()``, ``put()`` ...).
        takers: Keys of the tasks whose code has been found to take items out of it. Asked only for a queue at which
            somebody waits for room, and for one with unreported items.
        fresh: Those of `takers` that have not reached such a call yet.
        between: For an empty queue with unreported items: keys of the givers of ``"join"`` that take another item
            before they call ``task_done()`` again, so that they will not report a missing one.
        known_to: Keys of the actors and tasks that can reach it at all.
        owed: Tasks that have taken something from a pool built on this, and give it back when they leave the blocks
            they are in. Asked only for what seems dead.
        location: ``file:line`` where it is made, if exactly one statement of the program makes one of that name.
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
        kind: ``"timer"``, ``"callback"``, ``"io"``, ``"thread"``, ``"pool"``, ``"signal"``, ``"hook"`` (called with
            failures, as `sys.excepthook`), ``"loop"``, ``"caller"`` (the code after ``run_until_complete``, which goes
            on when the main task has ended) or ``"outside"`` (owner of references that are not accounted for).
        what: Its function, signal number or thread, for people.
        needs: Keys of tasks: it can act if at least one of them can go on. Empty: it can always act.
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
        idle: Whether it is a pool thread that waits for work, or runs a loop that waits in its selector.
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
    """A task that has ended, or a function that no task runs any more, without which others may now wait in vain.

    Attributes:
        name: Name of the task; empty if it is no longer known.
        function: Qualified name of its function.
        error: Name of the type of the exception that it raised; ``None`` if it returned or was cancelled.
        message: The exception's message, if it can be read without running the program's code.
        location: ``file:line`` where the exception was raised, or where it was cancelled, if known.
        raised_in: Qualified name of the function there, if it is not the task's own.
        cancelled: Whether it was cancelled.
        waited: Keys of the locks, semaphores and limiters that it was waiting for when it ended: it did not get them.
        gave: ``(resource key, kind of wait)`` pairs: the waits that its code could have ended and, of locks,
            semaphores and limiters, also those it could have caused by acquiring.
        names: Names that its code uses (attributes, variables, functions).
        through: The same for each function that it may have called, judged by name.
        gone: Whether the task object no longer exists.
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
        name: Its qualified name, without the functions it is defined in.
        names: Names that its code uses, without those of the functions it calls.
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
        at_s: When, in seconds of `time.monotonic`.
        took_s: How long the look took, in seconds.
        tasks: By key.
        resources: By key.
        actors: By key.
        threads: In no order.
        loops: By key.
        ended: The ended tasks that could still be found.
        functions: The program's own functions that use a method which ends some wait, if the look was asked for them.
        batches: Those that run.
        complete: Whether the search for givers stayed within its budget. If not, only rings and what is slow are
            reported, and nothing is called PROVEN.
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
