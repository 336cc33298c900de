"""Who awaits a task that no ``await`` names, told to asyncio.

Since Python 3.14, ``python -m asyncio pstree PID`` and ``asyncio.print_call_graph`` show which task awaits which.
asyncio knows that of an ``await``, and asks whatever waits for tasks in another way to tell it
(https://docs.python.org/3.14/library/asyncio-graph.html#low-level-utility-functions), as its own `TaskGroup` does. The
engines do so for the tasks of jobs and of workers, and `stream` for its pump.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

__all__ = ["TELL", "UNTELL", "Relation"]

Relation = Callable[["asyncio.Task[Any]", "asyncio.Task[Any]"], object]
"""Takes a task, and the task that awaits it."""

TELL: Final[Relation | None] = getattr(asyncio, "future_add_to_awaited_by", None)
"""Tells asyncio that the second task awaits the first; ``None`` where it would not listen, before Python 3.14."""
UNTELL: Final[Relation | None] = getattr(asyncio, "future_discard_from_awaited_by", None)
"""Takes back what `TELL` told; due when the first task ends, which would keep the second alive otherwise."""
