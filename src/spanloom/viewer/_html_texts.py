"""The texts of a page: each once, and together never more than a page can carry."""

from __future__ import annotations

import json
from typing import Final, TypedDict

from spanloom.events.error import ErrorInfo
from spanloom.handlers._text import printable
from spanloom.viewer._frames import place

__all__ = ["ErrorText", "Errors", "Payloads", "Texts"]

MAX_TEXT: Final = 500
"""Characters of one text: what an event keeps of a message."""
MAX_NAMES: Final = 2_000
"""Different names; a program that numbers its names has as many as it has jobs."""
MAX_FRAMES: Final = 8
"""Innermost lines of a traceback that are kept: the outer ones lead from the runner to the job."""
ERROR_BUDGET: Final = 400_000
"""Characters of all errors together: with frames, some 500 to 2,000 different ones."""
PAYLOAD_BUDGET: Final = 200_000
"""Characters of the payloads of events that ended well, and once more of those that did not."""


class Texts:
    """Numbers for texts, from 0."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """Return the number of `text`; beyond `MAX_NAMES` different ones, that of ``…``."""
        known = self._numbers.get(text)
        if known is not None:
            return known
        if len(self.all) > MAX_NAMES:
            return self._numbers["…"]
        if len(self.all) == MAX_NAMES:
            text = "…"
        # Two texts may look alike once what is not printable is escaped; they keep different numbers.
        self._numbers[text] = len(self.all)
        self.all.append(printable(text, MAX_TEXT))
        return self._numbers[text]


class ErrorText(TypedDict):
    """One error, as often as it occurred."""

    type: str
    message: str
    frames: list[str]


class Errors:
    """Numbers for errors, from 1; 0 stands for none."""

    def __init__(self) -> None:
        self.all: list[ErrorText] = []
        self.shortened = 0
        """Errors of which only the type is kept, because there are too many different ones."""
        self._numbers: dict[ErrorInfo, int] = {}
        self._budget = ERROR_BUDGET

    def number(self, error: ErrorInfo | None) -> int:
        """Return the number of `error`."""
        if error is None:
            return 0
        known = self._numbers.get(error)
        if known is not None:
            return known
        if self._budget <= 0:
            self.shortened += 1
            return self._bare(error.type)
        text = ErrorText(
            type=printable(error.type, MAX_TEXT),
            message=printable(error.message, MAX_TEXT),
            frames=[printable(place(frame), MAX_TEXT) for frame in error.frames[-MAX_FRAMES:]],
        )
        self._budget -= len(text["type"]) + len(text["message"]) + sum(map(len, text["frames"]))
        return self._add(error, text)

    def _bare(self, type: str) -> int:
        bare = ErrorInfo(type if len(self.all) < 2 * MAX_NAMES else "…", "")
        known = self._numbers.get(bare)
        if known is not None:
            return known
        return self._add(bare, ErrorText(type=printable(bare.type), message="…", frames=[]))

    def _add(self, error: ErrorInfo, text: ErrorText) -> int:
        self.all.append(text)
        self._numbers[error] = len(self.all)
        return len(self.all)


class Payloads:
    """What the user attached, as text, by the number of its row: as much of it as there is room for."""

    def __init__(self) -> None:
        self.all: dict[int, str] = {}
        self.left_out = 0
        self._budgets = [PAYLOAD_BUDGET, PAYLOAD_BUDGET]

    def add(self, row: int, payload: dict[str, object], *, is_well: bool) -> None:
        """Keep `payload` if there is room; what did not end well has room of its own."""
        if self._budgets[is_well] <= 0:
            self.left_out += 1
            return
        # Not msgspec, which refuses lone surrogates: a file that somebody else has written may have them.
        text = printable(json.dumps(payload, ensure_ascii=False, default=repr), 4 * MAX_TEXT)
        self._budgets[is_well] -= len(text)
        self.all[row] = text
