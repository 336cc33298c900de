"""Which LlamaIndex events and traces enclose the code that runs now, in this task or thread.

Frames are linked from the innermost outwards, and the innermost is in a ContextVar: a task has those of who started
it, and what it opens is its own. A frame may be ended from anywhere; a context that still has it then steps over it.
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
    """Whose frames there are: a manager."""

    @property
    def handlers(self) -> Sized:
        """Its handlers."""

    def tell(self, hook: str, *args: object) -> object:
        """Call one hook of all its handlers."""


class TraceState:
    """One trace, from the start of the outermost of its name to its end.

    Attributes:
        tree: Ids of the children by that of their parent.
        told: The exception that an event of it has told of last.
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
    """One event or trace that may have others inside.

    Attributes:
        outer: The frame around it.
        owner: Whose frame it is: each manager sees its own only.
        event_id: What is the parent of what happens inside.
        trace: The trace it is in, or is; ``None`` outside of all.
        is_trace: Whether it is a trace, not an event.
        outermost: Whether it is a trace that is in no other of the same manager.
        manager: spanloom's, which carries its event.
        context: Its event, if it is for this frame to end.
        outer_event: What was spanloom's current event around it.
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
        """Start the event of this frame in `manager`; it is the current one from here on."""
        self.manager = manager
        self.context = context
        self.outer_event = manager.current.get()
        self.event = context.start()
        return self.event

    def push(self) -> None:
        """Be the innermost frame of this context."""
        self.outer = HERE.get()
        HERE.set(self)

    def close(self, error: BaseException | None) -> None:
        """End the event, and leave the context to what is around it."""
        self.ended = True
        if self.context is not None:
            self.context.end(error)
        settle()

    @property
    def holds(self) -> bool:
        """Whether it encloses what happens now."""
        return not self.ended and (self.trace is None or not self.trace.ended)

    def within(self) -> bool:
        """Tell whether it is this frame, or one inside it, that the context is in."""
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
        # Ended elsewhere, or before what was inside it: here, its event still is the current one.
        if frame.manager is not None and frame.manager.current.get() is frame.event:
            frame.manager.current.set(frame.outer_event)
        frame = frame.outer
    if frame is not innermost:
        HERE.set(frame)
