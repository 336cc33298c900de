"""Which LlamaIndex events and traces enclose the running code, in this task or thread.

Frames are linked from the innermost outwards, and the innermost is in a ContextVar: a task inherits those of the task
that started it, and its own are its own. A frame may be ended from anywhere; a context that still has it skips it.
"""

from __future__ import annotations

import contextvars
from collections import defaultdict
from collections.abc import Sized
from typing import Final, Protocol

from spanloom.callbacks.context import EventContext
from spanloom.callbacks.emitter import Emitter
from spanloom.compat._llama_index.schema import BASE_TRACE_EVENT
from spanloom.events.event import Event

__all__ = ["HERE", "MAX_UNTRACED", "Frame", "Owner", "TraceState", "settle"]

MAX_UNTRACED: Final = 10_000
"""Events outside of any trace that a manager remembers the parents of; a server may never open a trace."""


class Owner(Protocol):
    """The owner of frames: a manager."""

    @property
    def handlers(self) -> Sized:
        """Its handlers."""

    def tell(self, hook: str, *args: object) -> object:
        """Call one hook of all its handlers."""


class TraceState:
    """One trace, from the start of the outermost of its name to its end.

    Attributes:
        tree: Ids of the children by that of their parent.
        told: The last exception that one of its events reported.
        ended: Whether it has ended.
    """

    __slots__ = ("_noted", "bound", "ended", "told", "tree")

    def __init__(self, bound: int | None = None) -> None:
        self.tree: defaultdict[str, list[str]] = defaultdict(list)
        self.told: BaseException | None = None
        self.ended: bool = False
        self.bound: int | None = bound
        self._noted = 0

    def note(self, parent_id: str, event_id: str) -> None:
        """Put `event_id` under `parent_id`."""
        if self.bound is not None:
            self._noted += 1
            if self._noted > self.bound:
                self.tree.clear()
                self._noted = 1
        self.tree[parent_id].append(event_id)


class Frame:
    """One event or trace that may enclose others.

    Attributes:
        outer: The frame around it.
        owner: Its manager; each manager sees only its own frames.
        event_id: The parent id for events inside.
        trace: The trace it is in, or is; ``None`` outside of all.
        is_trace: Whether it is a trace, not an event.
        outermost: Whether it is a trace in no other trace of the same manager.
        manager: The spanloom manager that carries its event.
        context: Context manager of its event, if this frame has to end it.
        outer_event: spanloom's current event before it was opened.
        ended: Whether it has ended.
        handling: The exception that was being handled when it was opened; for `SpanloomHandler`.
    """

    __slots__ = (
        "context", "ended", "event", "event_id", "handling", "is_trace", "manager", "outer", "outer_event",
        "outermost", "owner", "trace",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        trace: TraceState | None,
        *,
        event_id: str = BASE_TRACE_EVENT,
        is_trace: bool = False,
        outermost: bool = False,
    ) -> None:
        self.outer: Frame | None = None
        self.owner: Owner = owner
        self.event_id: str = event_id
        self.trace: TraceState | None = trace
        self.is_trace: bool = is_trace
        self.outermost: bool = outermost
        self.manager: Emitter | None = None
        self.context: EventContext | None = None
        self.event: Event | None = None
        self.outer_event: Event | None = None
        self.ended: bool = False
        self.handling: BaseException | None = None

    def open(self, manager: Emitter, context: EventContext) -> Event:
        """Start the event of this frame in `manager`, and make it current."""
        self.manager = manager
        self.context = context
        self.outer_event = manager.current.get()
        self.event = context.start()
        return self.event

    def push(self) -> None:
        """Make this the innermost frame of this context."""
        self.outer = HERE.get()
        HERE.set(self)

    def close(self, error: BaseException | None) -> None:
        """End the event, and restore what was current before."""
        self.ended = True
        if self.context is not None:
            self.context.end(error)
        settle()

    @property
    def holds(self) -> bool:
        """Whether it encloses the running code."""
        return not self.ended and (self.trace is None or not self.trace.ended)

    def within(self) -> bool:
        """Return whether the context's innermost frame is this one or one inside it."""
        frame = HERE.get()
        while frame is not None:
            if frame is self:
                return True
            frame = frame.outer
        return False


HERE: Final[contextvars.ContextVar[Frame | None]] = contextvars.ContextVar(
    "spanloom_llama_index", default=None
)
"""The innermost frame of this context."""


def settle() -> None:
    """Step out of the innermost frames that have ended, in this context."""
    innermost = frame = HERE.get()
    while frame is not None and frame.ended:
        # Ended elsewhere, or before a frame inside it: its event is still current here.
        if frame.manager is not None and frame.manager.current.get() is frame.event:
            frame.manager.current.set(frame.outer_event)
        frame = frame.outer
    if frame is not innermost:
        HERE.set(frame)
