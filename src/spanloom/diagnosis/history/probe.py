"""The exceptions raised and caught in the threads of the loops, monitored for a fraction of a second now and then.

An exception that is raised, caught and dropped leaves no trace for later looks: where a loop tries again and
pauses outside its ``except``, each look finds a task that sleeps. So the interpreter reports exceptions: by
``sys.monitoring`` where there is that (CPython 3.12), else by ``sys.settrace``, both of which cost much while they
are on. They are only ever on for a `Window`: for `WINDOW_S`, and no more than `MAX_EVENTS`; only while a task is at
work that stands in a loop with an ``except`` that leads back into it; ever more rarely while nothing is found; and
not at all while a debugger, a profiler or a coverage tool has its hook there.
"""

from __future__ import annotations

import asyncio
import dis
import sys
import threading
import time
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any, Final

import msgspec

__all__ = ["WINDOW_S", "Failure", "Window", "open_window"]

WINDOW_S: Final = 0.12
MAX_EVENTS: Final = 4_000
"""Our callbacks in one window, at most: 4 ms."""
PATIENCE_S: Final = 0.05
"""Seconds for which the looking thread waits for the loop to switch the hook off."""
MAX_CHAINS: Final = 400
MAX_DEPTH: Final = 30
"""Functions that an exception is followed through, at most."""
_TOOL: Final = 4
"""Id of a tool in `sys.monitoring`.

0 to 2 and 5 are spoken for, and 3 is for hearing of tasks that are made (`made`).
"""
_NO_FAILURES: Final = (
    StopIteration,
    StopAsyncIteration,
    GeneratorExit,
    CancelledError,
    KeyboardInterrupt,
    SystemExit,
)
_RETURNS: Final = frozenset(dis.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in dis.opmap)


class Failure(msgspec.Struct, frozen=True):
    """Exceptions that were raised in one place and caught in another.

    Attributes:
        error: Name of the type.
        raised: Code of the function that raised it, and of those that it passed through, up to `caught`.
        lines: The line in each of `raised`.
        caught: Code of the function in which it was seen last.
        caught_line: The line there.
    """

    error: str
    raised: tuple[CodeType, ...]
    lines: tuple[int, ...]
    caught: CodeType
    caught_line: int

    @property
    def callee(self) -> CodeType:
        """The function that `caught` had called: if it had returned, the try would have succeeded."""
        return self.raised[-2] if len(self.raised) > 1 else self.raised[0]


class Window(msgspec.Struct, eq=False):
    """What was heard in one window.

    Attributes:
        began: When, by `time.monotonic`.
        lasted_s: Seconds of listening, which may be less than the window was open; 0 until it is over.
        is_cut: Whether it ended early because it was full.
        failures: How often each failure was heard.
        returned: How often each function returned.
    """

    began: float
    lasted_s: float = 0.0
    is_cut: bool = False
    failures: Counter[Failure] = msgspec.field(default_factory=Counter)
    returned: Counter[CodeType] = msgspec.field(default_factory=Counter)
    thread: int = 0
    _events: int = 0
    _chains: dict[int, tuple[str, list[tuple[CodeType, int]]]] = msgspec.field(default_factory=dict)

    def heard(self, code: CodeType, line: int, error: BaseException, is_new: bool) -> None:
        """Record that an exception was raised in a function, or has reached it."""
        if isinstance(error, _NO_FAILURES):
            return
        key = id(error)
        known = self._chains.get(key)
        # The identity may be that of another exception by now: if it is new, or passes a function again.
        if known is None or is_new or any(code is passed for passed, _ in known[1][:-1]):
            self._settle(key)
            if len(self._chains) >= MAX_CHAINS:
                return
            self._chains[key] = known = type(error).__name__, _origin(error)
        chain = known[1]
        if not chain or chain[-1][0] is not code:
            chain.append((code, line))

    def _settle(self, key: int) -> None:
        name, chain = self._chains.pop(key, ("", []))
        if chain:
            codes, lines = zip(*chain, strict=True)
            self.failures[Failure(name, codes[:20], lines[:20], codes[-1], lines[-1])] += 1

    @property
    def has_heard(self) -> bool:
        """Whether anything at all was heard."""
        return self._events > 0

    def end(self) -> None:
        """Record, the first time, that nothing is heard from now on."""
        if not self.lasted_s:
            self.lasted_s = max(1e-3, time.monotonic() - self.began)

    def close(self) -> None:
        """End the window, and count what was heard."""
        self.end()
        for key in list(self._chains):
            self._settle(key)

    def is_full(self) -> bool:
        """Count one callback; tell whether that was the last one allowed."""
        self._events += 1
        self.is_cut = self._events > MAX_EVENTS
        return self.is_cut


def _origin(error: BaseException) -> list[tuple[CodeType, int]]:
    """Return where an exception comes from, the innermost function first.

    It may have been raised in another thread.
    """
    passed: list[tuple[CodeType, int]] = []
    traceback = error.__traceback__
    while traceback is not None and len(passed) < MAX_DEPTH:
        passed.append((traceback.tb_frame.f_code, traceback.tb_lineno))
        traceback = traceback.tb_next
    return passed[::-1]


def open_window(loop: asyncio.AbstractEventLoop, thread: int) -> Callable[[], Window | None]:
    """Begin to monitor the exceptions in the thread of a loop that is at work.

    Args:
        loop: The loop. Without `sys.monitoring` it gets two callbacks, thread-safely.
        thread: The id of its thread.

    Returns:
        A function that ends it and returns the window, or ``None`` if another tool has the hook.
    """
    window = Window(time.monotonic(), thread=thread)
    if sys.version_info >= (3, 12):
        monitoring = _Monitoring(window)
        return monitoring.finish if monitoring.begin() else lambda: None
    tracing = _Tracing(window, loop)
    loop.call_soon_threadsafe(tracing.begin)
    return tracing.finish


class _Tracing:
    """Hears by ``sys.settrace``, which can only be switched on and off in the thread itself."""

    def __init__(self, window: Window, loop: asyncio.AbstractEventLoop) -> None:
        self._window = window
        self._loop = loop
        self._is_over = False

    def begin(self) -> None:
        if sys.gettrace() is None and not self._is_over:
            self._window.began = time.monotonic()
            sys.settrace(self.enter)

    def end(self) -> None:
        if sys.gettrace() == self.enter:
            sys.settrace(None)
        self._window.end()

    def enter(self, frame: FrameType, _: str, __: object) -> Callable[..., Any] | None:
        if self._is_over or self._window.is_full():
            self.end()
            return None
        frame.f_trace_lines = False
        return self.inside

    def inside(self, frame: FrameType, event: str, value: Any) -> Callable[..., Any]:
        code, window = frame.f_code, self._window
        if event == "exception":
            error, traceback = value[1:]
            if isinstance(error, BaseException) and isinstance(traceback, TracebackType):
                window.heard(code, frame.f_lineno, error, traceback.tb_next is None)
        elif code.co_code[frame.f_lasti] in _RETURNS:  # not a yield, nor an exception
            window.returned[code] += 1
        if window.is_full():
            self.end()
        return self.inside

    def finish(self) -> Window | None:
        self._is_over = True
        window = self._window
        if not window.lasted_s and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.end)
            # The loop is at work, so this is soon, or else the window is of no use.
            until = time.monotonic() + PATIENCE_S
            while not window.lasted_s and time.monotonic() < until:
                time.sleep(0.005)
        if not window.lasted_s or not window.has_heard:
            return None
        window.close()
        return window


class _Monitoring:
    """Hears by ``sys.monitoring``, which any thread can switch on and off for all."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._monitoring: Any = sys.monitoring  # type: ignore[attr-defined] # not in the stubs of 3.11

    def begin(self) -> bool:
        """Switch monitoring on; return whether the tool id was free."""
        monitoring, events = self._monitoring, self._monitoring.events
        if monitoring.get_tool(_TOOL) is not None:
            return False
        monitoring.use_tool_id(_TOOL, "spanloom")
        monitoring.register_callback(_TOOL, events.RAISE, self.raised)
        monitoring.register_callback(_TOOL, events.EXCEPTION_HANDLED, self.caught)
        monitoring.register_callback(_TOOL, events.PY_RETURN, self.returned)
        monitoring.set_events(_TOOL, events.RAISE | events.EXCEPTION_HANDLED | events.PY_RETURN)
        return True

    def raised(self, code: CodeType, offset: int, error: BaseException) -> None:
        if self._is_heard():
            traceback = error.__traceback__
            is_new = traceback is None or traceback.tb_next is None
            self._window.heard(code, _line(code, offset), error, is_new)
            self._count()

    def caught(self, code: CodeType, offset: int, error: BaseException) -> None:
        if self._is_heard():
            self._window.heard(code, _line(code, offset), error, False)

    def returned(self, code: CodeType, _: int, __: object) -> None:
        if self._is_heard():
            self._window.returned[code] += 1
            self._count()

    def _is_heard(self) -> bool:
        return threading.get_ident() == self._window.thread and not self._window.lasted_s

    def _count(self) -> None:
        if self._window.is_full():
            self._window.end()  # now, not when it is closed: rates are counts divided by this time
            self._monitoring.set_events(_TOOL, 0)

    def finish(self) -> Window:
        monitoring, events = self._monitoring, self._monitoring.events
        self._window.end()
        monitoring.set_events(_TOOL, 0)
        for event in (events.RAISE, events.EXCEPTION_HANDLED, events.PY_RETURN):
            monitoring.register_callback(_TOOL, event, None)
        monitoring.free_tool_id(_TOOL)
        self._window.close()
        return self._window


def _line(code: CodeType, offset: int) -> int:
    for start, end, line in code.co_lines():
        if start <= offset < end:
            return line or code.co_firstlineno
    return code.co_firstlineno
