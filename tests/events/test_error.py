"""What is kept of an exception: names and lines, bounded, and never the exception."""

from __future__ import annotations

import gc
import traceback
import weakref
from typing import Any, cast

import pytest

from spanloom.events import ErrorInfo, Frame
from spanloom.events.error import MAX_FRAMES, MAX_MESSAGE


class Hostile:
    """An object all of whose texts are a mistake to ask for."""

    def __str__(self) -> str:
        raise AssertionError("__str__ of a user's object was called")

    __repr__ = __str__


class SpokenError(Exception):
    def __str__(self) -> str:
        return "its own words"


class MuteError(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class NonsenseError(Exception):
    def __str__(self) -> str:
        return cast("str", 7)


@pytest.mark.parametrize(
    ("error", "type", "message"),
    [
        (ValueError("no"), "ValueError", "no"),
        (ValueError(), "ValueError", ""),
        (KeyError("k"), "KeyError", "'k'"),
        (OSError(2, "gone"), "FileNotFoundError", "[Errno 2] gone"),
        (ValueError("a", 1, None), "ValueError", "('a', 1, None)"),
        (ValueError(Hostile()), "ValueError", "<Hostile>"),
        (ValueError("a", Hostile(), [Hostile()]), "ValueError", "a, <Hostile>, <list>"),
        (SpokenError("x"), f"{__name__}.SpokenError", "its own words"),
        (MuteError("x"), f"{__name__}.MuteError", "<no message: __str__ raised KeyboardInterrupt>"),
        (NonsenseError(), f"{__name__}.NonsenseError", "<no message: __str__ raised TypeError>"),
    ],
)
def test_an_error_is_described(error: BaseException, type: str, message: str) -> None:
    """The class and the message are kept; the arguments' own code is not run; a broken __str__ is no error."""
    assert ErrorInfo.of(error) == ErrorInfo(type, message)


def test_the_message_is_bounded() -> None:
    """A message longer than the bound is cut, and shows it."""
    assert ErrorInfo.of(ValueError("x" * MAX_MESSAGE)).message == "x" * MAX_MESSAGE
    cut = ErrorInfo.of(ValueError("x" * 10_000_000)).message
    assert cut == "x" * (MAX_MESSAGE - 1) + "…"


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (
            "'404 Not Found' for url 'http://h:80/p?name=ann&x=1#top'",
            "'404 Not Found' for url 'http://h:80/p?***'",
        ),
        ("https://a/?q=1, then https://b/c?d and more?", "https://a/?*** then https://b/c?*** and more?"),
        (
            "Max retries exceeded with url: /p?name=ann (refused)",
            "Max retries exceeded with url: /p?*** (refused)",
        ),
        ("what? see http://h/p", "what? see http://h/p"),
    ],
)
def test_urls_lose_their_queries(message: str, kept: str) -> None:
    """HTTP clients put the whole URL into their messages, and a query is content; the rest is kept."""
    assert ErrorInfo.of(ValueError(message)).message == kept


def fail(depth: int) -> None:
    if depth:
        fail(depth - 1)
    raise ValueError


def caught(depth: int) -> ValueError:
    try:
        fail(depth)
    except ValueError as error:
        return error
    raise AssertionError


def test_the_frames_are_those_of_the_traceback() -> None:
    """File, line and qualified function of each frame are kept, outermost first."""
    error = caught(1)
    expected = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    frames = ErrorInfo.of(error).frames
    assert [(frame.filename, frame.lineno) for frame in frames] == expected
    assert [frame.function for frame in frames] == ["caught", "fail", "fail"]


def test_the_frames_are_the_innermost_ones() -> None:
    """Of a deep traceback, the frames nearest to the error are kept."""
    frames = ErrorInfo.of(caught(100)).frames
    assert len(frames) == MAX_FRAMES
    assert {frame.function for frame in frames} == {"fail"}


def test_code_without_line_numbers_has_line_zero() -> None:
    """A line number is always a number, even for code that was generated without any."""
    code = compile("raise ValueError", "<made>", "exec")
    units = len(code.co_code) // 2
    # One entry "no location" for each 8 code units: Objects/locations.md in CPython.
    table = bytes(0x80 | 15 << 3 | min(8, units - start) - 1 for start in range(0, units, 8))
    code = code.replace(co_linetable=table)
    with pytest.raises(ValueError) as caught_error:
        exec(code)
    assert ErrorInfo.of(caught_error.value).frames[-1] == Frame("<made>", 0, "<module>")


def test_nothing_is_pinned() -> None:
    """An ErrorInfo keeps neither the exception nor a local variable of its frames alive."""

    class Large:
        pass

    def work() -> tuple[ErrorInfo, weakref.ref[Large], weakref.ref[BaseException]]:
        large = Large()
        try:
            raise SpokenError(large)
        except SpokenError as error:
            return ErrorInfo.of(error), weakref.ref(large), weakref.ref(error)

    gc.disable()
    try:
        info, large, error = work()
        assert large() is None
        assert error() is None
        assert info.message == "its own words"
    finally:
        gc.enable()


def test_no_property_of_an_exception_is_asked() -> None:
    """One that raises would take the place of the exception, and its job would never be seen to end."""

    class Text(str):
        def __len__(self) -> int:
            raise LookupError("length")

    class RaisingError(ValueError):
        __module__ = None  # type: ignore[assignment]  # as of a class that was made by hand

        @property
        def args(self) -> Any:  # type: ignore[override]  # that is what is tested
            raise LookupError("args")

        @property
        def __traceback__(self) -> Any:  # type: ignore[override]  # the same
            raise LookupError("traceback")

        def __str__(self) -> str:
            return Text("what it says")

    info = ErrorInfo.of(RaisingError())
    assert info.type.endswith("RaisingError")
    assert (info.message, type(info.message), info.frames) == ("what it says", str, ())
