"""What is still alive of the objects that somebody wanted to know of."""

from __future__ import annotations

import time
import weakref
from typing import Any

import msgspec

__all__ = ["LeakInfo", "LeakTracker", "track_resource", "untrack_resource"]


class LeakInfo(msgspec.Struct, frozen=True):
    """One object that is alive.

    Attributes:
        name: What it was called, else ``obj-`` and its id.
        kind: What kind of thing it was said to be, or ``None``.
        created_at: When it was first tracked, in seconds since 1970.
    """

    name: str
    kind: str | None
    created_at: float


class LeakTracker:
    """Knows which of the objects that it was told of are alive, without keeping them so.

    Needs no lock: each step is one operation of a dict. A lock could be asked for by a finalizer in the
    middle of the very code that holds it.
    """

    def __init__(self) -> None:
        self._live: dict[int, tuple[LeakInfo, weakref.finalize[Any, Any]]] = {}

    def track(self, obj: object, *, name: str | None, kind: str | None) -> None:
        """Report `obj` from now on until it is gone.

        Raises:
            TypeError: `obj` cannot be referred to weakly.
        """
        self.untrack(obj)
        key = id(obj)
        gone = weakref.finalize(obj, self._live.pop, key, None)
        gone.atexit = False
        self._live[key] = LeakInfo(name or f"obj-{key}", kind, time.time()), gone

    def untrack(self, obj: object) -> None:
        """Report `obj` no longer."""
        tracked = self._live.pop(id(obj), None)
        if tracked is not None:
            tracked[1].detach()  # `weakref` keeps a registry of them

    def live(self) -> list[LeakInfo]:
        """Return what is alive, in the order in which it was tracked."""
        return [info for info, _ in self._live.copy().values()]

    def clear(self) -> None:
        """Report none of those tracked so far any longer."""
        live, self._live = self._live, {}
        for _, gone in live.values():
            gone.detach()


_tracker = LeakTracker()


def track_resource(obj: object, name: str | None = None, kind: str | None = None) -> None:
    """Track `obj` by the tracker of the process; see `LeakTracker.track`."""
    _tracker.track(obj, name=name, kind=kind)


def untrack_resource(obj: object) -> None:
    """Have the tracker of the process forget `obj`."""
    _tracker.untrack(obj)
