"""The events of a call that another library retries: the same as those of spanloom's own ``retry``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.concurrency.names import bare_name, name_of
from spanloom.events import keys
from spanloom.events.event import Event, ScopeEvent, detail_of
from spanloom.events.types import EventType

if TYPE_CHECKING:
    from spanloom.callbacks.manager import CallbackManager
    from spanloom.callbacks.route import Route

__all__ = ["UNWANTED", "Tries", "caller_name", "watch"]

UNWANTED: Final = "unwanted result"
"""The reason of a back-off without an exception: a policy may reject results."""

_RETRY: Final = EventType.RETRY
_ATTEMPT: Final = EventType.ATTEMPT
_BACKOFF: Final = EventType.BACKOFF
_NAMELESS: Final = frozenset({"<module>", "<lambda>"})


def watch(name: str) -> Tries | None:
    """Open the event of a retried call that begins now; ``None`` if nobody listens."""
    manager = get_callback_manager()
    return Tries(manager, name) if manager.active else None


class Tries:
    """One retried call: its event, and one after the other the events of its attempts and back-offs.

    The code that watches a library reports what happens there, in any order: a step whose end was not reported ends
    with the next one, and what comes after the end is ignored. The innermost open event is the current one.

    A call whose end is never reported, because the loop over its attempts was left, ends when this object is deleted:
    ``ok`` if its last attempt was, ``cancelled`` otherwise.

    Args:
        manager: Carries the events.
        name: Name of all of them.
    """

    __slots__ = ("_inner", "_manager", "_name", "_outer", "_succeeded", "_whole", "number", "owner")

    def __init__(self, manager: CallbackManager, name: str) -> None:
        self.number: int = 0
        """The attempt that is under way, or the last one; from 1, 0 before the first."""
        self.owner: object = None
        """For the code that watches a library: what this call belongs to."""
        self._manager = manager
        self._name = name
        self._outer: Event | None = manager.current.get()
        self._inner: tuple[ScopeEvent, Route] | None = None
        self._succeeded = False
        self._whole: tuple[ScopeEvent, Route] | None = manager.begin(_RETRY, name, None, self._outer)
        manager.current.set(self._whole[0])

    def attempt(self) -> None:
        """Begin the next attempt."""
        if self._whole is not None:
            self._leave_inner(None)
            self.number += 1
            self._succeeded = False
            self._begin(_ATTEMPT, None)

    def attempted(self, error: BaseException | None) -> None:
        """End the attempt; `error` is what it raised."""
        if self._is_open(_ATTEMPT):
            self._succeeded = error is None
            self._leave_inner(error)

    def back_off(self, delay_s: float, reason: str) -> None:
        """Begin the pause after the last attempt.

        Args:
            delay_s: Seconds that it is to last.
            reason: Type of the exception that made it necessary, or `UNWANTED`.
        """
        if self._whole is not None:
            self._leave_inner(None)
            self._begin(_BACKOFF, {keys.DELAY_S: delay_s, keys.ERROR: reason})
            job = self._whole[0].job
            if job is not None:
                job.family.counts.backing_off += 1

    def resume(self) -> None:
        """End the pause."""
        if self._is_open(_BACKOFF):
            self._leave_inner(None)

    def step_aside(self) -> None:
        """Make the event current again that was so before this call; the call is not over, but may never go on."""
        manager, whole = self._manager, self._whole
        if whole is not None and manager.current.get() is whole[0]:
            manager.current.set(self._outer)

    def end(self, error: BaseException | None = None) -> None:
        """End the call, and its open attempt or back-off, with the error that leaves it."""
        whole = self._whole
        if whole is not None:
            self._leave_inner(error)
            self._whole = None
            outer, self._outer = self._outer, None
            self._manager.leave(whole, outer, error)

    def __del__(self) -> None:
        # Not while the interpreter shuts down: handlers may be gone.
        if getattr(self, "_whole", None) is not None and not sys.is_finalizing():
            self.end(None if self._succeeded else GeneratorExit())

    def _is_open(self, type: str) -> bool:
        return self._inner is not None and self._inner[0].type == type

    def _begin(self, type: str, data: dict[str, object] | None) -> None:
        whole = self._whole
        if whole is not None:
            self._inner = self._manager.begin(type, self._name, data, whole[0], None, self.number)
            self._manager.current.set(self._inner[0])

    def _leave_inner(self, error: BaseException | None) -> None:
        inner, whole = self._inner, self._whole
        if inner is None or whole is None:
            return
        self._inner = None
        self._manager.leave(inner, whole[0], error)
        job = whole[0].job
        if job is not None and inner[0].type == _BACKOFF:
            counts = job.family.counts
            counts.backing_off -= 1
            counts.retried += 1
            if error is None:
                detail = detail_of(job)
                detail.attempt = max(detail.attempt or 0, self.number + 1)


def caller_name(function: Callable[..., Any] | None, skipped: tuple[str, ...]) -> str:
    """Return a name for the retries of `function` or, if that is ``None``, of a block of the function that asks.

    Args:
        function: What is retried.
        skipped: Names of modules whose functions are skipped in search of that one.
    """
    if function is not None:
        return name_of(function) or "retry"
    frame = sys._getframe(1)  # noqa: SLF001 -- documented, and inspect.currentframe is the same
    while frame.f_back is not None and _is_in(frame.f_globals.get("__name__", ""), skipped):
        frame = frame.f_back
    name = bare_name(frame.f_code.co_qualname)
    return "retry" if name in _NAMELESS else name


def _is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)
