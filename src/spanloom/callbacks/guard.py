"""The guard: the only code that calls a handler, so that no handler can harm the work.

If a hook raises anything, or an inline hook holds its caller for more than `SLOW_S`, its handler is
quarantined: logged once with the traceback, counted, and not called again until it is added anew. To
retry a failing handler would repeat its damage a thousand times a second.

An exception that a signal's handler raises while a hook happens to run, above all
``KeyboardInterrupt``, is not the hook's: it propagates to the program, and the handler stays.

Over 400 lines, though one noun: the code around a hook's call is repeated for each kind of hook, as a shared helper
would cost a call per event.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, cast

from spanloom.callbacks.drain import Drain, TraceEnded, TraceStarted
from spanloom.callbacks.hooks import HOOKS, INLINE, ON_EVENT, hook_of, types_of
from spanloom.callbacks.open_events import OpenEvents
from spanloom.callbacks.signals import is_from_signal
from spanloom.callbacks.stats import HandlerStats
from spanloom.events.clock import deadline_ns, left_s, monotonic_ns
from spanloom.events.event import Event
from spanloom.events.handler import QuickHook
from spanloom.events.trace import Trace
from spanloom.events.types import EventType
from spanloom.exceptions import HandlerError

if TYPE_CHECKING:
    from spanloom.callbacks.manager import CallbackManager

__all__ = ["EventHook", "Guard", "delivering"]

SLOW_S: Final = 5.0
"""Seconds an inline hook may hold its caller: far above any honest hook, far below a hang. Not less: on a machine with
six times more work than processors, a hook of some microseconds was seen to wait 1.8 s for the GIL and a processor, and
that cannot be told from a hook that blocks."""

EventHook = Callable[[Event], object]

_logger = logging.getLogger("spanloom.callbacks")


_FAILED: Final = object()


class _Delivering(threading.local):
    guards: tuple[Guard, ...] = ()


delivering: _Delivering = _Delivering()
"""The guards whose hooks are running in this thread: events that these hooks emit are not sent to them."""


class Guard:
    """One handler with its hooks, its counts and, if it takes lists, its drain."""

    def __init__(self, handler: object, *, raise_errors: bool) -> None:
        self.handler = handler
        self.name: str = type(handler).__name__
        self.wants: frozenset[str] | None = types_of(handler, "wants")
        self.wants_inline: frozenset[str] | None = types_of(handler, "wants_inline")
        self.quarantined: bool = False
        self.lapsed: bool = False
        """Whether its inline hooks are no longer called: it is quarantined or closed."""
        self.errors: int = 0
        self._raise = raise_errors
        self._closed = False
        self._lock = threading.RLock()
        self._produced = 0
        self._delivered = 0
        self._open: OpenEvents | None = None
        if isinstance(handler, type) and any(
            isinstance(vars(base).get(hook), FunctionType) for base in handler.__mro__ for hook in HOOKS
        ):
            raise TypeError(
                f"a handler must be an object, and {handler.__name__} is a class; make one: {handler.__name__}()"
            )
        if isinstance(handler, str):
            raise TypeError(
                f"a handler must be an object, not the name {handler!r}; "
                "names are for SPANLOOM_HANDLERS and `spanloom run --handlers`"
            )
        hooks = {name: hook_of(handler, name) for name in HOOKS}
        if not any(hooks.values()):
            raise TypeError(
                f"a handler must define at least one of {', '.join(HOOKS)}; {self.name} defines none of them"
            )
        self._hooks = hooks
        self.drain: Drain | None = None
        if (on_events := hooks["on_events"]) is not None:
            self.drain = Drain(
                self, on_events, marks=hooks["start_trace"] is not None or hooks["end_trace"] is not None
            )
            hooks["on_events"] = self.drain.call_on_events
        self.watches: bool = self.drain is not None and hooks["on_tick"] is not None
        """Whether its thread has to be told of starts, for ``on_tick``."""
        self._inline: tuple[str, ...] = INLINE if self.drain is None else ON_EVENT

    # what is called --------------------------------------------------------------------------------

    def defines(self, hook: str) -> bool:
        """Tell whether the handler has that hook."""
        return self._hooks[hook] is not None

    @property
    def binds_jobs(self) -> bool:
        """Whether the handler gives, by its ``job_hooks``, the functions to call with the jobs of each batch."""
        return self.drain is not None and self.defines_inline("job_hooks", EventType.JOB)

    def wants_type(self, type: str) -> bool:
        """Tell whether the handler asked for events of that type."""
        return self.wants is None or type in self.wants

    def defines_inline(self, hook: str, type: str) -> bool:
        """Tell whether the handler has that hook and `wants_inline` includes that type."""
        return self._hooks[hook] is not None and (self.wants_inline is None or type in self.wants_inline)

    def start_hooks(self, type: str) -> list[EventHook]:
        """Return the functions to call with each started event of that type."""
        hooks: list[EventHook] = []
        if self.watches:
            hooks.append(self._stir)
        if self.defines_inline("on_event_start", type):
            hooks.append(partial(self.call, "on_event_start"))
        return hooks

    def end_hooks(self, type: str) -> list[EventHook]:
        """Return the functions to call with each ended event of that type; they deliver it and account for it."""
        inline = self.defines_inline("on_event_end", type)
        return [partial(self._deliver, "on_event_end", inline)] if inline or self.drain is not None else []

    def start(self, event: Event) -> None:
        """Deliver the start of an event directly, without a route; for runners."""
        for hook in self.start_hooks(event.type):
            hook(event)

    def end(self, event: Event) -> None:
        """Deliver the end of such an event, and account for it."""
        for hook in self.end_hooks(event.type):
            hook(event)

    def _stir(self, event: Event) -> None:
        cast("Drain", self.drain).stir()

    def attach(self, manager: CallbackManager) -> None:
        """Add the open events of `manager` to the handler's view; the first time, call ``attached`` with the view."""
        with self._lock:
            known, now = self._open, monotonic_ns()
            if known is None:
                self._open = OpenEvents(self)
            view = cast("OpenEvents", self._open)
            view.add(manager, now)
        if known is None:
            self.call("attached", view)

    def tick(self) -> bool:
        """Call ``on_tick``; return True if any event is open, or if the hook asks for another call."""
        answer = self._invoke("on_tick")
        return answer is True or (answer is not _FAILED and bool(self._open))

    def pause(self, event: Event) -> None:
        """Deliver that the body of the event's generator is suspended."""
        if self.defines_inline("on_event_pause", event.type):
            self.call("on_event_pause", event)

    def resume(self, event: Event) -> None:
        """Deliver that it runs again, perhaps in another context."""
        if self.defines_inline("on_event_resume", event.type):
            self.call("on_event_resume", event)

    def point(self, event: Event) -> None:
        """Deliver a point event, and account for it."""
        self._deliver("on_event", self.defines_inline("on_event", event.type), event)

    def job_end(self, event: Event) -> None:
        """Deliver an ended job inline; its batch accounts for it, and a drain has it already."""
        if self.call("on_event_end", event) and self.drain is None:
            self.delivered(1)

    def job_hooks(self, batch: Event, *, first: bool) -> tuple[EventHook | None, EventHook | None]:
        """Return the functions for a runner to call with each started and each ended job of `batch`.

        The handler's own ``job_hooks`` decides, if it has one and takes lists. Otherwise they are its
        ``on_event_start`` and ``on_event_end``, if it has them and wants them for jobs.

        Args:
            batch: The event of the batch, just started.
            first: Whether no other hook is called between the time stamp of a job's event and this hook.
        """
        start, end = (
            self._hooks[hook] if self.defines_inline(hook, EventType.JOB) else None
            for hook in ("on_event_start", "on_event_end")
        )
        if self.binds_jobs:
            start = end = None
            answer = self._invoke("job_hooks", batch)
            try:
                if answer is not _FAILED:
                    start, end = cast("Any", answer)
            except (TypeError, ValueError) as error:
                self.fail("job_hooks", error)
        if start is not None:
            start = self._job_hook("on_event_start", start, first=first)
        if end is not None:
            end = self.job_end if self.drain is None else self._job_hook("on_event_end", end, first=first)
        return start, end

    def _job_hook(self, hook: str, function: EventHook, *, first: bool) -> EventHook:
        """Return `function` guarded as by `_invoke`, with all constants bound, as it is called with every job."""
        if type(function) is QuickHook:
            return self._quick_hook(hook, function.quick, self._job_hook(hook, function.full, first=first))
        alone, here, slow_ns = (self,), delivering, SLOW_S * 1e9

        def guarded(event: Event) -> None:
            outer = here.guards
            if outer or self.lapsed:
                if self in outer or self.lapsed:
                    return
                here.guards = (*outer, self)
            else:
                here.guards = alone
            # The event was stamped a moment ago; read the clock again only if other hooks have run since.
            began = (event.end_ns or event.start_ns) if first else monotonic_ns()
            try:
                function(event)
            except BaseException as error:
                if is_from_signal(error):
                    raise
                self.fail(hook, error)
                return
            finally:
                here.guards = outer
            held_ns = monotonic_ns() - began
            if held_ns > slow_ns:
                self._held(hook, held_ns / 1e9)

        return guarded

    def _quick_hook(self, hook: str, quick: Callable[[Event], bool], full: EventHook) -> EventHook:
        def guarded(event: Event) -> None:
            if self.lapsed:
                return
            try:
                is_done = quick(event)
            except BaseException as error:
                if is_from_signal(error):
                    raise
                self.fail(hook, error)
                return
            if not is_done:
                full(event)

        return guarded

    def start_trace(self, trace: Trace) -> None:
        """Deliver the start of a trace; in order with the events if the handler takes lists."""
        if not self.defines("start_trace"):
            return
        if self.drain is not None:
            self.drain.push(TraceStarted(trace))
        else:
            self.call("start_trace", trace.trace_id, trace.name)

    def end_trace(self, trace: Trace) -> None:
        """Deliver the end of a trace; in order with the events if the handler takes lists."""
        if not self.defines("end_trace"):
            return
        if self.drain is not None:
            self.drain.push(TraceEnded(trace))
        else:
            self.call("end_trace", trace.trace_id, trace.tree())

    def _deliver(self, hook: str, inline: bool, event: Event) -> None:
        inline = inline and not self._closed
        if self.drain is not None:
            self.drain.push(event)
            self.produced(1)  # after it is there: see stats()
            if inline:
                self.call(hook, event)
        elif inline:
            delivered = False
            try:
                delivered = self.call(hook, event)
            finally:
                with self._lock:
                    self._produced += 1
                    self._delivered += delivered

    def call(self, hook: str, *args: object) -> bool:
        """Call one hook; return False if it is missing, failed, or the handler is in quarantine."""
        return self._invoke(hook, *args) is not _FAILED

    def _invoke(self, hook: str, *args: object) -> object:
        function = self._hooks[hook]
        # A quarantined handler may still close its files and restore its terminal.
        if function is None or (self.quarantined and hook != "close"):
            return _FAILED
        outer = delivering.guards
        if self in outer:
            return _FAILED
        delivering.guards = (*outer, self)
        started = monotonic_ns()
        try:
            result = function(*args)
        except BaseException as error:  # a handler may raise anything, and must not affect the work
            if is_from_signal(error):
                raise
            self.fail(hook, error)
            return _FAILED
        finally:
            delivering.guards = outer
        held_s = (monotonic_ns() - started) / 1e9
        if held_s > SLOW_S and hook in self._inline:
            self._held(hook, held_s)
        return result

    def _held(self, hook: str, held_s: float) -> None:
        self.fail(hook, TimeoutError(f"{hook} held its caller for {held_s:.1f} s (allowed: {SLOW_S} s)"))

    def ask(self) -> int:
        """Ask for delivery of what is buffered, without waiting; return a ticket for `flush` and `close`."""
        return 0 if self.drain is None else self.drain.ask()

    def flush(self, timeout: float, asked: int | None = None) -> bool:
        """Deliver what is buffered, then call the handler's own ``flush``.

        Args:
            timeout: Seconds to wait.
            asked: What `ask` returned, if it was called before.

        Returns:
            False if time ran out, or if the handler's ``flush`` returned False.
        """
        until_ns = deadline_ns(timeout)
        if self.drain is not None and not self.drain.flush(timeout, asked or self.ask()):
            return False
        return self._invoke("flush", left_s(until_ns)) is not False

    @property
    def needs_close(self) -> bool:
        """Whether the handler needs a flush or a close at the end of the process."""
        return self.drain is not None or self.defines("flush") or self.defines("close")

    def close(self, timeout: float, asked: int | None = None) -> bool:
        """Flush, call the handler's ``close`` and stop its thread; return False if time ran out.

        From here on no inline hook is called, not even for events that are open now.
        """
        self._closed = self.lapsed = True
        self._hooks = {name: None if name in self._inline else hook for name, hook in self._hooks.items()}
        until_ns = deadline_ns(timeout)
        done = came_back = self.drain is None
        try:
            if self.drain is not None:
                try:
                    done = came_back = self.drain.flush(timeout, asked or self.ask())
                except HandlerError:
                    came_back = True
                    raise
            if came_back:
                done = self._invoke("flush", left_s(until_ns)) is not False
            elif self.drain is not None and (pending := self.drain.pending):
                _logger.warning(
                    "handler %s was closed after %.3g s, with %d event%s that it had not taken",
                    self.name,
                    timeout,
                    pending,
                    "s" if pending > 1 else "",
                )
        finally:
            try:
                # A handler that could not flush must still release its files and threads. But one that is still busy on
                # its own thread must not be called from another.
                if came_back:
                    self.call("close")
            finally:
                if self.drain is not None:
                    self.drain.close(left_s(until_ns) if came_back else 0.0)
        return done

    def after_fork(self) -> None:
        """Drop, in a forked child, what only the parent process can deliver."""
        self._lock = threading.RLock()
        self._produced = self._delivered = 0
        if self.drain is not None:
            self.drain.reset()

    def fail(self, hook: str, error: BaseException) -> None:
        """Count a failure, quarantine the handler, and log the first failure.

        Raises:
            HandlerError: under ``raise_handler_errors``, from `error`.
        """
        with self._lock:
            self.errors += 1
            first = not self.quarantined
            self.quarantined = self.lapsed = True
        if first:
            self._log_failure(hook, error)
        if self._raise:
            raise HandlerError(f"{self.name}.{hook} raised {type(error).__name__}") from error

    def readmit(self) -> None:
        """Take the handler out of quarantine."""
        with self._lock:
            self.quarantined, self.lapsed = False, self._closed

    def _log_failure(self, hook: str, error: BaseException) -> None:
        """Log with the traceback; without it if that fails; not at all if that fails, too."""
        message = "handler %s failed in %s and gets no more events; add it again to try anew"
        try:
            _logger.error(message, self.name, hook, exc_info=(type(error), error, error.__traceback__))
        except Exception:  # noqa: BLE001 -- from a filter of the program's log, or from the exception's own attributes
            with suppress(Exception):
                _logger.error(message, self.name, hook)

    # accounting -----------------------------------------------------------------------------------

    def produced(self, count: int) -> None:
        """Account for `count` events that this handler should get."""
        with self._lock:
            self._produced += count

    def delivered(self, count: int) -> None:
        """Account for `count` events that a hook has taken."""
        with self._lock:
            self._delivered += count

    def stats(self, running: Callable[[], int] = lambda: 0) -> HandlerStats:
        """Return the counts; `running` returns the number of produced events that are not accounted for yet."""
        produced, pending, delivered = self._counts(running)
        lost = self._of_handler("lost", delivered)
        waiting = self._of_handler("waiting", delivered - lost)
        return HandlerStats(
            handler=self.name,
            produced=produced,
            delivered=delivered - lost - waiting,
            dropped=produced - delivered - pending + lost,
            pending=pending + waiting,
            errors=self.errors,
            quarantined=self.quarantined,
        )

    def _of_handler(self, what: str, most: int) -> int:
        """Return the handler's count `what`, of the events that it took, at most `most`; 0 if it has none."""
        number = getattr(self.handler, what, 0)
        return min(number, most) if type(number) is int else 0

    def account(self, running: Callable[[], int] = lambda: 0) -> tuple[int, int]:
        """Return how many events the handler should have received, and how many of those were lost."""
        produced, pending, delivered = self._counts(running)
        return produced, produced - delivered - pending

    def _counts(self, running: Callable[[], int]) -> tuple[int, int, int]:
        # Read in the order in which an event moves on: one that moves meanwhile may be counted twice, but is
        # never missed, so it cannot be taken for lost. What is counted twice is cut off.
        produced = self._produced + running()
        pending = 0 if self.drain is None else self.drain.pending
        delivered = self._delivered
        produced = max(produced, delivered)
        return produced, min(pending, produced - delivered), delivered
