"""The output of commands: text for people, JSON for programs; plain if it is not a terminal.

Colours and the width of a terminal are rich's affair. It obeys ``NO_COLOR`` and ``FORCE_COLOR``, and writes no escape
sequence to what is not a terminal.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, TextIO

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "is_terminal", "print_json", "print_text", "standard_output"]


def standard_output() -> TextIO:
    """Return standard output.

    Raises:
        OSError: the process was started without one: ``>&-``.
    """
    stream: TextIO | None = sys.stdout
    if stream is None:
        raise OSError(errno.EBADF, "standard output is closed")
    return stream


def is_terminal(stream: IO[str] | None = None) -> bool:
    """Tell whether `stream` is a terminal; by default standard output."""
    stream = sys.stdout if stream is None else stream
    return stream is not None and stream.isatty()


def print_text(lines: Iterable[str]) -> None:
    """Print `lines` as they come, in characters that the output can show.

    Control characters in recorded text must have been escaped before: see ``printable``.
    """
    from spanloom.viewer._layout import Line, plain

    stream = standard_output()
    for line in plain(map(Line, lines), stream.encoding):
        click.echo(line.text, stream)


def print_json(value: object) -> None:
    """Print `value`, structs included, as one JSON document: indented for a person, else on one line.

    Nothing in it steers a terminal. An output that cannot show all of its characters gets ASCII, which says the same.
    """
    from spanloom.viewer._json import ascii_json, encode_json

    stream = standard_output()
    encoded = encode_json(value)
    if is_terminal():
        encoded = msgspec.json.format(encoded)
    text = encoded.decode()
    try:
        text.encode(stream.encoding or "utf-8")  # a StringIO has none
    except UnicodeEncodeError:
        text = ascii_json(text)
    click.echo(text, stream)


def console(stream: IO[str] | None = None) -> Console:
    """Return rich's console on `stream`, by default standard output; for what is drawn.

    Recorded text is text there: no markup, no emoji names, no guessed highlights.
    """
    from rich.console import Console  # 50 ms, which plain output does not need

    return Console(file=stream, markup=False, emoji=False, highlight=False, soft_wrap=not is_terminal(stream))
