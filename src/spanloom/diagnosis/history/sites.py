"""Where tasks are made, and how many of each kind: noted as they are made, as long as that is cheap; see `made`.

One note costs half a microsecond or so. After `BUDGET` of them in one step nothing is heard any more until the next
step: a program that makes a hundred thousand tasks a second pays for a few hundred.
"""

from __future__ import annotations

from collections import Counter
from types import CodeType, FrameType
from typing import Any, Final

from spanloom.diagnosis.chain import code_of
from spanloom.diagnosis.history.made import EnteredInSet, Monitored
from spanloom.diagnosis.origin import is_own
from spanloom.diagnosis.registry import LOOPS_ARE_HIDDEN

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
        """Note nothing any more."""
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
            frame = maker
            place = None
            for _ in range(MAX_DEPTH):
                if is_own(frame.f_code.co_filename):
                    place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                    break
                if frame.f_back is None:
                    break
                frame = frame.f_back
            if place is not None and (place in sites or len(sites) < MAX_SITES):
                sites[place] += 1
        except Exception:  # noqa: BLE001 -- a task must be made, whatever its coroutine is
            return
