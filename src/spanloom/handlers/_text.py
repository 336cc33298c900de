"""Text that is safe to print: numbers with a unit, and strings without secrets and control characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanloom.redaction import redact_text

if TYPE_CHECKING:
    from spanloom.events.error import ErrorInfo

__all__ = ["NUMBERED", "called", "count_of", "format_ns", "one_line", "printable"]

NUMBERED: Final = frozenset({"attempt", "backoff"})
"""Types of events that are shown with the number of their attempt."""

_AHEAD: Final = 4_000
"""Characters beyond those shown that are searched, too: what identifies a secret may come after it."""
_UNITS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"))


def format_ns(nanoseconds: int) -> str:
    """Return a duration with three significant digits and its unit: ``950 ns``, ``12.3 ms``, ``4,210 s``."""
    for size, unit in _UNITS:
        # 0.9995 of a unit would be rounded to "1000" of the smaller one.
        if nanoseconds * 10_000 >= size * 9_995:
            return f"{_three_digits(nanoseconds / size)} {unit}"
    return f"{nanoseconds} ns"


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def count_of(number: int, noun: str) -> str:
    """Return "1 event", or "2,000 events"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(text: str, limit: int = 200) -> str:
    """Return `text` on one line: without secrets, cut to `limit` characters, control characters escaped.

    Names and error messages may come from anywhere, such as a server's reply. Escape sequences in them could move the
    cursor or forge lines of a log.
    """
    return _escape(_cut(_without_secrets(text, limit), limit))


def one_line(error: ErrorInfo, limit: int = 200) -> str:
    """Return type and message of an error as `printable` does, with the lines of the message joined.

    Clients put advice on a second line ("For more information check: ..."), validators the wrong field. Secrets are
    redacted before the lines are joined, as the end of a line identifies some of them.
    """
    text = f"{error.type}: {error.message}" if error.message else error.type
    return _escape(_cut(" ".join(_without_secrets(text, limit).split()), limit))


def _without_secrets(text: str, limit: int) -> str:
    return redact_text(_cut(text, limit + _AHEAD))


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def called(type: str, name: str, limit: int = 200) -> str:
    """Return type and name of an event, each as `printable`; only one of them if they are equal, as by default."""
    return printable(type, limit) if name == type else f"{printable(type, limit)} {printable(name, limit)}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
