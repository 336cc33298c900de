"""Loops that nobody runs: what is in them goes on only if somebody who lives comes to run them again.

A loop of a service was stopped, or is not run yet, or is between two calls of ``run_until_complete``. Who has the loop
may run it; who has not may ask asyncio for that of his thread, which cannot be seen here. A human at a prompt, and code
in C around the interpreter, may do anything.
"""

from __future__ import annotations

import sys
import threading
from asyncio.base_events import BaseEventLoop
from typing import Any, Final

from spanloom.diagnosis.fields import field, in_class, is_a

__all__ = ["RUNNERS", "is_run", "may_find", "may_rest", "rests"]

RUNNERS: Final = frozenset({"run_forever", "run_until_complete", "run", "_run_once"})
"""What the methods are called that run a loop: its own, and that of an ``asyncio.Runner``."""
_FINDERS: Final = frozenset({"get_event_loop", "get_event_loop_policy"})
_OWN: Final = ("run_forever", "run_until_complete", "is_running", "_run_once")
_PLAIN: Final = {name: vars(BaseEventLoop)[name] for name in _OWN}


def is_run(loop: Any) -> bool:
    """Tell whether some thread is inside of a loop's ``run_forever``."""
    if is_a(loop, BaseEventLoop):
        return field(loop, "_thread_id") is not None
    running: bool = loop.is_running()
    return running


def rests(loop: Any) -> bool:
    """Tell whether nobody runs a loop that is like asyncio's own; of another it cannot be known."""
    kind = type(loop)
    return (
        is_a(loop, BaseEventLoop)
        and all(in_class(kind, name) is plain for name, plain in _PLAIN.items())
        and not is_run(loop)
    )


def may_rest() -> bool:
    """Tell whether all who could run a loop can be seen: not a human at a prompt, nor a program around this one."""
    main = threading.main_thread().ident
    return not hasattr(sys, "ps1") and main in sys._current_frames()  # noqa: SLF001 -- its documented name


def may_find(names: set[str]) -> bool:
    """Tell whether code with these names may ask asyncio for the loop of its thread, and run it."""
    return not names.isdisjoint(_FINDERS) and not names.isdisjoint(RUNNERS)
