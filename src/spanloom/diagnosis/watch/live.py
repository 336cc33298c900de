"""The present state of a process for a live view: its loops, and the resources with their holders and waiters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from spanloom.diagnosis.look import forget, look
from spanloom.diagnosis.watch.blocked import described
from spanloom.diagnosis.watch.frames import thread_name, where
from spanloom.diagnosis.watch.pulse import Pulse

if TYPE_CHECKING:
    from spanloom.diagnosis.model import Resource, Snapshot
    from spanloom.diagnosis.watch.watcher import Watcher

__all__ = ["live"]

MAX_RESOURCES: Final = 20
MAX_NAMES: Final = 8


def live(watcher: Watcher) -> dict[str, Any]:
    """Return the loops with what holds them, and the resources that are waited for with their holders and waiters.

    The resources with most waiters come first, `MAX_RESOURCES` of them at most.
    """
    watcher.look_now()  # loading the modules may have taken a second
    now_s = time.monotonic()
    seen = look()
    waited = sorted(
        (one for one in seen.resources.values() if one.waiters), key=lambda one: -len(one.waiters)
    )
    found = {
        "tasks": len(seen.tasks),
        "waiting": sum(task.state == "waiting" for task in seen.tasks.values()),
        "loops": [_loop(pulse, now_s) for pulse in watcher.running()],
        "resources": [_resource(one, seen) for one in waited[:MAX_RESOURCES]],
    }
    forget(seen)
    return found


def _loop(pulse: Pulse, now_s: float) -> dict[str, Any]:
    held = [hold.lasts_s(now_s) for hold in pulse.recent(now_s)]
    hold = pulse.hold
    return {
        "thread": thread_name(pulse.thread),
        "longest_hold_s": round(max(held, default=0.0), 3),
        "held_s": None if hold is None else round(hold.lasts_s(now_s), 3),
        "held_by": None if hold is None else described(hold),
        "held_at": None if hold is None else where(hold.place),
    }


def _resource(one: Resource, seen: Snapshot) -> dict[str, Any]:
    holders = [seen.tasks[holder.task].label for holder in one.holders if holder.task in seen.tasks]
    waiters = [seen.tasks[key].label for key in one.waiters if key in seen.tasks]
    return {
        "name": one.name,
        "kind": one.kind,
        "size": one.size,
        "used": one.used,
        "holders": holders[:MAX_NAMES],
        "waiters": waiters[:MAX_NAMES],
        "waiting": len(one.waiters),
    }
