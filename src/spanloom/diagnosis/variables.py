"""The variables of a suspended or running frame, read without leaving a trace in it."""

from __future__ import annotations

import inspect
import sys
from gc import get_referents
from types import FrameType
from typing import Any, Final

__all__ = ["variables_of"]

_PROXY: Final = sys.version_info >= (3, 13)
_TOUCHY: Final = frozenset({"locals", "vars", "eval", "exec", "dir"})


def variables_of(frame: FrameType, owner: Any = None) -> dict[str, object]:
    """Return a copy of the variables of `frame`.

    Before Python 3.13, ``f_locals`` leaves a dictionary in the frame, which would keep the values alive until the frame
    ends. It is emptied again, unless the program may have it, too, from a call of ``locals()`` or the like.

    Args:
        frame: A frame that is suspended, or that runs in another thread.
        owner: The coroutine or generator that it belongs to, if there is one.
    """
    if _PROXY or not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        try:
            return dict(frame.f_locals)
        except RuntimeError:  # another thread has changed the namespace meanwhile
            return {}
    # An empty one was left by an earlier look.
    there = (
        ()
        if owner is None
        else [id(referent) for referent in get_referents(owner) if type(referent) is dict and referent]
    )
    snapshot = frame.f_locals
    found = dict(snapshot)
    if id(snapshot) not in there and frame.f_trace is None and _TOUCHY.isdisjoint(frame.f_code.co_names):
        snapshot.clear()
    return found
