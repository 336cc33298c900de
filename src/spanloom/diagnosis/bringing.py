"""The roots that a task adds to a closure: its frames, and the callbacks that run when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from gc import get_referents
from types import FunctionType
from typing import Any, Final

from spanloom.diagnosis.ahead import Ahead
from spanloom.diagnosis.chain import Link
from spanloom.diagnosis.fields import field
from spanloom.diagnosis.origin import is_standard
from spanloom.diagnosis.reach import Reach
from spanloom.diagnosis.seen import Seen, is_running
from spanloom.diagnosis.variables import variables_of

__all__ = ["bring"]

_AGAIN: Final = 5
_SHORT_S: Final = 0.0005
"""How often, and how many seconds apart, a frame is read again that runs while it is read."""


def bring(seen: Seen, reach: Reach, ahead_of: Callable[[Link], Ahead]) -> None:
    """Add the roots of a task to `reach`.

    Args:
        seen: The task.
        reach: The closure.
        ahead_of: Returns what a frame of it may still run.
    """
    for link in seen.links:
        values = _suspended_values(link)
        if is_standard(link.code.co_filename):
            reach.value(*values)
            continue
        ahead = ahead_of(link)
        variables = variables_of(link.frame, link.owner)
        gone = [id(value) for name, value in variables.items() if name not in ahead.variables]
        skipped = {id(link.frame), id(link.code), id(getattr(link.owner, "cr_origin", None))}
        skipped |= {id(link.frame.f_globals), id(variables)}
        kept = []
        for value in values:
            if id(value) in gone:
                gone.remove(id(value))
            elif id(value) not in skipped and not _is_function_of(value, link):
                kept.append(value)
        reach.frame(ahead, link.frame.f_globals, kept)
        reach.dropped(value for name, value in variables.items() if name not in ahead.variables)
        del values, variables, kept
    for callback, _ in field(seen.task, "_callbacks") or ():
        reach.callback(callback, ())


def _suspended_values(link: Link) -> list[Any]:
    """Return what the frame of `link` refers to: its variables and its value stack.

    While it runs, its stack cannot be read from outside. If it still does at the last try, only its variables count.
    """
    for _ in range(_AGAIN):
        values = get_referents(link.owner)
        if not is_running(link.owner):
            return values
        del values
        time.sleep(_SHORT_S)
    return [*get_referents(link.owner), *variables_of(link.frame, link.owner).values()]


def _is_function_of(value: Any, link: Link) -> bool:
    """Return whether `value` is the function that the frame runs: of that, only the code ahead counts."""
    return type(value) is FunctionType and value.__code__ is link.code
