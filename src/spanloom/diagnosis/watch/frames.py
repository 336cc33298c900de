"""Stacks of threads as plain data, which keep no object of the program alive.

A reference to a frame keeps its variables alive, which would then be freed later, and in the wrong thread. So frames
are walked in one go, in less than the switch interval, and only code objects and numbers are kept.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Final

import msgspec

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis import origin
from spanloom.diagnosis.chain import line_of, link_of
from spanloom.diagnosis.fields import field

__all__ = [
    "Call",
    "is_foreign",
    "is_own",
    "is_own_file",
    "location",
    "native_id",
    "own_place",
    "place_in",
    "short",
    "stack_of",
    "thread_name",
    "where",
]

MAX_DEPTH: Final = 400
"""Frames of one stack that are read, at most: a recursion may be a million deep."""


class Call(msgspec.Struct, frozen=True):
    """One call on a stack.

    Attributes:
        code: The code of the function.
        line: The line that it is at; 0 if there is none.
        instruction: Offset in bytes of the instruction that it is at.
    """

    code: CodeType
    line: int
    instruction: int

    @property
    def name(self) -> str:
        """The function's qualified name, without the functions that it is defined in."""
        return bare_name(self.code.co_qualname)


def stack_of(frame: FrameType | None, limit: int = MAX_DEPTH) -> tuple[Call, ...]:
    """Return the calls of a stack, innermost first, from `frame` on; at most `limit`."""
    found: list[Call] = []
    while frame is not None and len(found) < limit:
        found.append(Call(frame.f_code, line_of(frame), frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


def is_own(code: CodeType) -> bool:
    """Tell whether `code` is the program's own: no package's, not Python's and not ours."""
    return is_own_file(code.co_filename)


def is_own_file(file: str) -> bool:
    """Tell the same of a file."""
    return _has_file(file) and origin.is_own(file)


def is_foreign(code: CodeType) -> bool:
    """Tell whether `code` belongs to Python itself or to us."""
    file = code.co_filename
    return not _has_file(file) or origin.is_standard(file) or origin.belongs_to_us(file)


def _has_file(file: str) -> bool:
    """Tell whether code comes from a file that a person can look up; generated code, as of dataclasses, does not."""
    return bool(file) and not file.startswith("<")


def own_place(stack: tuple[Call, ...]) -> Call | None:
    """Return the innermost call in the program's own code; else in a package's; else the innermost there is."""
    own = next((call for call in stack if is_own(call.code)), None)
    known = own or next((call for call in stack if not is_foreign(call.code)), None)
    return known or (stack[0] if stack else None)


def place_in(chain: Sequence[object]) -> Call | None:
    """Return the innermost place of a task in the program's own code; `chain` begins with the outermost."""
    for part in reversed(chain):
        link = link_of(part)
        if link is not None and is_own(link.code):
            return Call(link.code, line_of(link.frame), link.frame.f_lasti)
    return None


def where(call: Call | None) -> str | None:
    """Return the place as ``file:line``, the file relative to the current folder."""
    if call is None:
        return None
    return f"{short(call.code.co_filename)}:{call.line}"


def location(call: Call | None) -> str | None:
    """Return the place as a finding's ``location``: ``file:line``, the file as the code object has it."""
    return None if call is None else f"{call.code.co_filename}:{call.line}"


def short(file: str) -> str:
    """Return `file` relative to the current folder, if it is in there."""
    try:
        here = os.getcwd() + os.sep  # noqa: PTH109 -- text is compared
    except OSError:  # the folder is gone
        return file
    return file.removeprefix(here)


def thread_name(ident: int) -> str:
    """Return the name of a thread; not by ``current_thread``, which makes a thread object where there is none."""
    threading = sys.modules.get("threading")
    known = getattr(threading, "_active", {}).get(ident)
    return str(field(known, "_name")) if known is not None else f"thread {ident}"


def native_id(ident: int) -> int | None:
    """Return the system's id of a thread; ``None`` if `threading` does not know it."""
    threading = sys.modules.get("threading")
    known = getattr(threading, "_active", {}).get(ident)
    found: int | None = field(known, "_native_id")
    return found
