"""What an event keeps of an exception: bounded text, never the exception itself.

An exception holds its traceback, its frames, and through them every local variable of the job. An
event may outlive its job for hours in the flight recorder, so it keeps only names and line numbers.
"""

from __future__ import annotations

import re
from types import TracebackType, WrapperDescriptorType
from typing import Final, NamedTuple

import msgspec

__all__ = ["ErrorInfo", "Frame"]

MAX_MESSAGE: Final = 500
"""Characters kept of a message: a screenful of a terminal, and more than most messages have."""
MAX_FRAMES: Final = 24
"""Innermost frames kept of a traceback; the outer ones are the runner's own and the loop's."""

# Printing these runs no code of the user's, whatever the value is.
_PLAIN: Final = frozenset({str, int, float, bool, bytes, complex, type(None)})

_QUERY: Final = r"""((?:://|\burl: /)[^\s"'<>`?…]*\?)[^\s"'<>`…]+"""
"""The query of a URL, also where urllib3 omits the host: ``Max retries exceeded with url: /path?query``."""


# The getters of the base classes: a class, or its metaclass, may override these names with properties that raise.
_args_of: Final = BaseException.__dict__["args"].__get__
_traceback_of: Final = BaseException.__dict__["__traceback__"].__get__
_module_of: Final = type.__dict__["__module__"].__get__
_qualname_of: Final = type.__dict__["__qualname__"].__get__


class Frame(NamedTuple):
    """One line of a traceback; ``lineno`` is 0 where the code has no line numbers."""

    filename: str
    lineno: int
    function: str


class ErrorInfo(msgspec.Struct, frozen=True, gc=False):
    """The exception that ended an event.

    Attributes:
        type: Qualified name of the class, without the module for built-in exceptions.
        message: What ``str(error)`` says, at most `MAX_MESSAGE` characters. An argument that is
            not a plain scalar is shown as its type name, because its ``__str__`` is user code. URLs
            lose their queries, which HTTP clients put into most messages: a query is content.
        frames: Innermost `MAX_FRAMES` frames of the traceback, outermost first.
    """

    type: str
    message: str
    frames: tuple[Frame, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> ErrorInfo:
        """Describe `error`; never raises, never keeps a reference to it."""
        return cls(_type_name(type(error)), _message(error), _frames(_traceback_of(error)))


def _type_name(kind: type[BaseException]) -> str:
    module, name = _module_of(kind), _qualname_of(kind)
    return name if module == "builtins" or type(module) is not str else f"{module}.{name}"


def _message(error: BaseException) -> str:
    args = _args_of(error)
    if not args and type(error).__str__ is BaseException.__str__:  # a cancel, most of the time
        return ""
    try:
        if type(type(error).__str__) is not WrapperDescriptorType:
            # The class defines `__str__`, which logging and tracebacks call, too. It may return a subclass of str.
            text = str.__str__(str(error))
        elif all(type(arg) in _PLAIN for arg in args):
            text = str(error)
        else:
            text = ", ".join(str(arg) if type(arg) in _PLAIN else f"<{type(arg).__name__}>" for arg in args)
    except BaseException as failure:  # noqa: BLE001 -- a broken __str__ must not replace the user's error
        text = f"<no message: __str__ raised {type(failure).__name__}>"
    if len(text) > MAX_MESSAGE:
        text = text[: MAX_MESSAGE - 1] + "…"
    return re.sub(_QUERY, r"\1***", text) if "?" in text else text


def _frames(traceback: TracebackType | None) -> tuple[Frame, ...]:
    lines: list[TracebackType] = []
    while traceback is not None:
        lines.append(traceback)
        traceback = traceback.tb_next
    frames = []
    for line in lines[-MAX_FRAMES:]:
        code = line.tb_frame.f_code
        frames.append(Frame(code.co_filename, line.tb_lineno or 0, code.co_qualname))
    return tuple(frames)
