"""Where tasks are made, how many of each kind, and the names of some; noted as they are made (`made`).

Only as long as that is cheap: a note costs some half a microsecond. After `BUDGET` notes in one step, nothing is noted
until the next step: a program that makes a hundred thousand tasks a second pays for a few hundred.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import tasks
from asyncio.base_events import BaseEventLoop
from collections import Counter
from types import CodeType, FrameType
from typing import Any, Final

from spanloom.diagnosis.chain import code_of
from spanloom.diagnosis.history.made import EnteredInSet, Monitored
from spanloom.diagnosis.origin import belongs_to_us, is_own, is_standard
from spanloom.diagnosis.registry import LOOPS_ARE_HIDDEN

__all__ = ["Sites"]

BUDGET: Final = 300
"""Tasks that are noted in one step, at most."""
MAX_KINDS: Final = 2_000
MAX_SITES: Final = 8
"""Places that are kept of one kind, at most."""
MAX_NAMES: Final = 20
"""Names that are kept of one kind, those of its first tasks; of more, the kind tells as much."""
MAX_DEPTH: Final = 12
"""Frames between the code that makes a task and the set: the loop's, a task group's, a library's."""
_NAMING: Final = frozenset(
    inspect.unwrap(function).__code__  # it may be wrapped already by what instruments it
    for function in (BaseEventLoop.create_task, tasks.create_task, asyncio.TaskGroup.create_task)
)
"""Functions that take a name for the task, which the task does not have yet when it is noted."""


class Sites:
    """Notes where tasks are made, between `listen` and `stop`.

    Attributes:
        made: By code of the task's function, how many were made at which ``file:line``, as far as noted. Of functions
            of the standard library, such as ``Event.wait``, only those that the program has made itself.
        names: By the same, the names of the first of them, if they were given any.
    """

    def __init__(self) -> None:
        self.made: dict[CodeType, Counter[str]] = {}
        self.names: dict[CodeType, list[str]] = {}
        self._left = 0
        self._source = Monitored(self._note) if LOOPS_ARE_HIDDEN else EnteredInSet(self._note)

    def listen(self) -> bool:
        """Note the next tasks. Call it again with every step.

        Returns:
            Whether any have been made since the call before.
        """
        were_made = self._left < BUDGET
        self._left = BUDGET
        self._source.listen()
        return were_made

    def stop(self) -> None:
        """Stop noting tasks."""
        self._source.stop()

    def main_site(self, code: CodeType) -> str | None:
        """Return where most tasks of a kind were made: ``file:line``."""
        made = self.made.get(code)
        return made.most_common(1)[0][0] if made else None

    def count(self, code: CodeType) -> int:
        """Return how many tasks of a kind were noted."""
        made = self.made.get(code)
        return 0 if made is None else made.total()

    def _note(self, made: Any, maker: FrameType) -> None:
        self._left -= 1
        if self._left < 0:
            self.stop()
            return
        try:
            code = code_of(made)
            if code is None:
                return
            sites = self.made.get(code)
            if sites is None:
                if len(self.made) >= MAX_KINDS:
                    return
                sites = self.made[code] = Counter()
                self.names[code] = []
            wants_name = len(self.names[code]) < MAX_NAMES
            place, name = _made_in(maker, is_standard(code.co_filename), wants_name)
            if name is not None:
                self.names[code].append(name)
            if place is not None and (place in sites or len(sites) < MAX_SITES):
                sites[place] += 1
        except Exception:  # noqa: BLE001 -- a task must be made, whatever its coroutine is
            return


def _made_in(maker: FrameType, is_wait: bool, wants_name: bool) -> tuple[str | None, str | None]:
    """Return where the program makes a task, and the name it gives it, each if that is to be seen.

    Args:
        maker: The innermost frame of those that make it.
        is_wait: Whether it runs a function of the standard library: one that a library makes is its business.
        wants_name: Whether to look for the name.
    """
    frame = maker
    name = None
    for _ in range(MAX_DEPTH):
        file = frame.f_code.co_filename
        if is_own(file):
            return f"{file}:{frame.f_lineno}", name
        if is_wait and not is_standard(file) and not belongs_to_us(file):
            break  # of what is instrumented, our frames lie between
        if wants_name and name is None and frame.f_code in _NAMING:
            name = _name_in(frame)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None, name


def _name_in(frame: FrameType) -> str | None:
    """Return the name with which one of `_NAMING` was called; since Python 3.14 it is among the keywords."""
    variables = frame.f_locals
    name = variables.get("name") or (variables.get("kwargs") or {}).get("name")
    return name if type(name) is str else None
