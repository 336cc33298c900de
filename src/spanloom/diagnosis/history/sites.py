"""Where tasks are made, and how many of each kind: noted as they are made, as long as that is cheap.

asyncio enters each task that is made into a weak set of its own, in C, by calling the set's ``add``. A function of
that name in the instance's dictionary hears of every task of every loop, also uvloop's, in the stack of who makes
it; neither the loop, its task factory nor the task is touched. From CPython 3.14 on there is no such set, and
nothing is noted.

One note costs half a microsecond or so. After `BUDGET` of them in one step the function takes itself out until the
next
step: a program that makes a hundred thousand tasks a second pays for a few hundred.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections import Counter
from types import CodeType
from typing import Any, Final

from spanloom.diagnosis.chain import code_of
from spanloom.diagnosis.fields import field
from spanloom.diagnosis.origin import is_own

__all__ = ["Sites"]

BUDGET: Final = 300
"""Tasks that are noted in one step."""
MAX_KINDS: Final = 2_000
MAX_SITES: Final = 8
"""Places that are remembered of one kind."""
MAX_DEPTH: Final = 12
"""Frames between who makes a task and the set: of the loop, of a task group, of a library."""


class Sites:
    """Notes where tasks are made, between `listen` and `stop`.

    Attributes:
        made: By code of the task's function, how many were made at which ``file:line``, as far as noted.
    """

    def __init__(self) -> None:
        self.made: dict[CodeType, Counter[str]] = {}
        self._left = 0
        self._set: weakref.WeakSet[Any] | None = None

    def listen(self) -> bool:
        """Note the next tasks. Call it again with every step.

        Returns:
            Whether any have been made since the call before.
        """
        were_made = self._left < BUDGET
        self._left = BUDGET
        if self._set is None:
            for name in ("_scheduled_tasks", "_all_tasks"):
                known = getattr(asyncio.tasks, name, None)
                if type(known) is weakref.WeakSet:
                    self._set = known
                    break
        tasks = self._set
        if tasks is None or "add" in vars(tasks):
            return were_made
        original = tasks.add

        def add(task: Any) -> None:
            original(task)
            self._note(task)

        vars(tasks)["add"] = add
        return were_made

    def stop(self) -> None:
        """Note nothing any more."""
        if self._set is not None:
            vars(self._set).pop("add", None)

    def main_site(self, code: CodeType) -> str | None:
        """Return where most tasks of a kind were made: ``file:line``."""
        made = self.made.get(code)
        return made.most_common(1)[0][0] if made else None

    def count(self, code: CodeType) -> int:
        """Return how many tasks of a kind were noted."""
        made = self.made.get(code)
        return 0 if made is None else made.total()

    def _note(self, task: Any) -> None:
        self._left -= 1
        if self._left < 0:
            self.stop()
            return
        try:
            code = code_of(field(task, "_coro"))
            if code is None:
                return
            made = self.made.get(code)
            if made is None:
                if len(self.made) >= MAX_KINDS:
                    return
                made = self.made[code] = Counter()
            frame = sys._getframe(2)  # noqa: SLF001 -- the documented way to the caller's frame
            place = None
            for _ in range(MAX_DEPTH):
                if is_own(frame.f_code.co_filename):
                    place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                    break
                if frame.f_back is None:
                    break
                frame = frame.f_back
            if place is not None and (place in made or len(made) < MAX_SITES):
                made[place] += 1
        except Exception:  # noqa: BLE001 -- a task must be made, whatever its coroutine is
            return
