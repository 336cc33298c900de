"""What a loop calls without a task: timers, callbacks, handlers of sockets and signals; and what these can reach."""

from __future__ import annotations

import asyncio
import gc
from asyncio.base_events import BaseEventLoop
from collections.abc import Iterator

from spanloom.diagnosis.fields import field, is_a
from spanloom.diagnosis.pace import in_slices
from spanloom.diagnosis.signals import set_handlers
from spanloom.diagnosis.watch.reach import knows

__all__ = ["may_call"]


def may_call(loop: asyncio.AbstractEventLoop, what: object) -> bool:
    """Tell whether something that `loop` may call without a task, or a signal handler, can reach `what`."""
    handlers = (handler for _, handler in set_handlers())
    return any(knows(called, what) for called in in_slices([*_calls_of(loop), *handlers]))


def _calls_of(loop: asyncio.AbstractEventLoop) -> Iterator[object]:
    """Yield the callbacks of a loop and their arguments; of a loop that hides them, all that it refers to."""
    if not is_a(loop, BaseEventLoop):
        yield from (one for one in gc.get_referents(loop) if one is not type(loop))
        return
    for handles in ("_ready", "_scheduled"):
        yield from map(_call_of, list(field(loop, handles, ())))
    yield from map(_call_of, list(field(loop, "_signal_handlers", {}).values()))
    for key in list(field(field(loop, "_selector"), "_fd_to_key", {}).values()):
        if type(key.data) is tuple:
            yield from (_call_of(handle) for handle in key.data if handle is not None)


def _call_of(handle: object) -> object:
    return None if field(handle, "_cancelled") else (field(handle, "_callback"), field(handle, "_args"))
