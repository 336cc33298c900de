"""The accounts of a manager: every loss is counted."""

from __future__ import annotations

import msgspec

__all__ = ["HandlerStats", "ManagerStats"]


class HandlerStats(msgspec.Struct, frozen=True):
    """What became of the events that one handler asked for.

    ``produced == delivered + dropped + pending`` whenever no event is being handed over.

    Attributes:
        handler: Class name of the handler.
        produced: Ended and point events of the types it wants, since it was added.
        delivered: Those that a hook took without raising.
        dropped: Those lost: its buffer was full, a hook raised, it was in quarantine, or its attribute
            ``lost`` counts them.
        pending: Those that wait in its buffer, or that its attribute ``waiting`` counts.
        errors: Hook calls that failed.
        quarantined: True once a hook has failed: it gets no more events until it is added again.
    """

    handler: str
    produced: int
    delivered: int
    dropped: int
    pending: int
    errors: int
    quarantined: bool


class ManagerStats(msgspec.Struct, frozen=True):
    """The accounts of a `CallbackManager`.

    Attributes:
        produced: Events that have ended, and point events.
        open: Events that have started and not ended.
        recorded: Events that the flight recorder holds.
        delivered, dropped, pending: Sums over the handlers.
        handlers: One entry per handler, in the order in which they were added.
    """

    produced: int
    open: int
    recorded: int
    delivered: int
    dropped: int
    pending: int
    handlers: tuple[HandlerStats, ...]
