"""A tracker of which registered objects are still alive."""

from __future__ import annotations

import time
import weakref
from typing import Any

import msgspec

__all__ = ["LeakInfo", "LeakTracker", "track_resource", "untrack_resource"]


class LeakInfo(msgspec.Struct, frozen=True):
    """One object that is alive.

    Attributes:
        name: The given name, else ``obj-`` and its id.
        kind: The given kind, or ``None``.
        created_at: When it was first tracked, in seconds since 1970.
    """

    name: str
    kind: str | None
    created_at: float


class LeakTracker:
    """Tracks which registered objects are alive, by weak references.

    Needs no lock, as each step is one operation of a dict. With a lock, a finalizer that runs in the code holding it
    would deadlock.
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
        """Stop reporting all objects tracked so far."""
        live, self._live = self._live, {}
        for _, gone in live.values():
            gone.detach()


_tracker = LeakTracker()


def track_resource(obj: object, name: str | None = None, kind: str | None = None) -> None:
    """Track `obj` with the tracker of the process; see `LeakTracker.track`."""
    _tracker.track(obj, name=name, kind=kind)


def untrack_resource(obj: object) -> None:
    """Have the tracker of the process forget `obj`."""
    _tracker.untrack(obj)
