"""Loops that no thread runs: their tasks progress only if somebody alive runs the loop again.

Such a loop was stopped, has not been run yet, or is between two calls of ``run_until_complete``. Code that has the loop
may run it; other code may get the loop of its thread from asyncio (`may_find`). A person at a prompt, and a C program
around the interpreter, may do anything (`may_rest`).
"""

from __future__ import annotations

import sys
import threading
from asyncio.base_events import BaseEventLoop
from typing import Any, Final

from spanloom.diagnosis.fields import field, in_class, is_a

__all__ = ["RUNNERS", "is_run", "may_find", "may_rest", "rests"]

RUNNERS: Final = frozenset({"run_forever", "run_until_complete", "run", "_run_once"})
"""Names of the methods that run a loop: the loop's own, and `asyncio.Runner.run`."""
_FINDERS: Final = frozenset({"get_event_loop", "get_event_loop_policy"})
_OWN: Final = ("run_forever", "run_until_complete", "is_running", "_run_once")
_PLAIN: Final = {name: vars(BaseEventLoop)[name] for name in _OWN}


def is_run(loop: Any) -> bool:
    """Tell whether some thread runs a loop."""
    if is_a(loop, BaseEventLoop):
        return field(loop, "_thread_id") is not None
    running: bool = loop.is_running()
    return running


def rests(loop: Any) -> bool:
    """Tell whether no thread runs a loop; ``False`` if its class runs otherwise than asyncio's, as that is unknown."""
    kind = type(loop)
    return (
        is_a(loop, BaseEventLoop)
        and all(in_class(kind, name) is plain for name, plain in _PLAIN.items())
        and not is_run(loop)
    )


def may_rest() -> bool:
    """Tell whether all who could run a loop can be seen: there is no prompt, and the main thread has Python frames."""
    main = threading.main_thread().ident
    return not hasattr(sys, "ps1") and main in sys._current_frames()  # noqa: SLF001 -- its documented name


def may_find(names: set[str]) -> bool:
    """Tell whether code that uses these names may get the loop of its thread from asyncio, and run it."""
    return not names.isdisjoint(_FINDERS) and not names.isdisjoint(RUNNERS)
