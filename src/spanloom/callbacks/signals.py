"""Tell an exception that a signal's handler raised from one of the code that it interrupted.

Python runs a signal's handler between any two instructions of the main thread, and what the handler raises propagates
from there. If a hook was running, only the traceback tells the two apart: it contains a frame of the signal's handler.
Python's own SIGINT handler has no frame; with it, the traceback ends at an instruction that is not a ``raise``.
"""

from __future__ import annotations

import dis
import signal
import threading
from functools import partial
from types import CodeType, TracebackType
from typing import Any, Final

__all__ = ["is_from_signal"]

_RAISES: Final = frozenset(dis.opmap[name] for name in ("RAISE_VARARGS", "RERAISE"))
_SIGNALS: Final = tuple(signal.valid_signals())


def is_from_signal(error: BaseException) -> bool:
    """Tell whether a signal's handler raised `error`, and not the code that was running.

    Args:
        error: Just caught.
    """
    if threading.current_thread() is not threading.main_thread():
        return False  # signal handlers run in the main thread only
    last: TracebackType | None = error.__traceback__
    codes: list[CodeType] = []
    while last is not None:
        codes.append(last.tb_frame.f_code)
        if last.tb_next is None:
            break
        last = last.tb_next
    if last is None:
        return False
    if type(error) is KeyboardInterrupt and codes[-1].co_code[last.tb_lasti] not in _RAISES:
        return True
    handlers = {_code_of(signal.getsignal(number)) for number in _SIGNALS}
    return any(code in handlers for code in codes)


def _code_of(handler: Any) -> CodeType | None:
    while isinstance(handler, partial):
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    code = getattr(handler, "__code__", None)
    return code if isinstance(code, CodeType) else None
