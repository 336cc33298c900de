"""Lines and tables of plain text, and what a terminal that cannot show all of it gets instead."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from spanloom.handlers._text import called, format_ns

__all__ = [
    "WIDTH",
    "Line",
    "cells",
    "cut",
    "fit",
    "label",
    "pad",
    "plain",
    "sparkline",
    "table",
    "times",
]

WIDTH: Final = 100
"""Columns of a page where no terminal says how many it has."""
_NAME: Final = 80
"""Characters shown of a name."""
_WORDS: Final = 16
"""Columns that words have before columns of numbers are left out for them."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = str.maketrans(
    {
        "▁": "_",
        "▂": ".",
        "▃": "-",
        "▄": "=",
        "▅": "+",
        "▆": "*",
        "▇": "#",
        "█": "@",
        "…": "~",
        "→": ">",
        "×": "x",
    }
)
"""Each is one character wide, so that columns stay in their places."""


class Line(NamedTuple):
    """One line of a page.

    Attributes:
        text: What it says; safe to print.
        style: How a terminal may show it: ``head``, ``bad``, ``dim``, or empty.
    """

    text: str
    style: str = ""


def plain(lines: Iterable[Line], encoding: str | None) -> Iterator[Line]:
    """Yield `lines` in characters that `encoding` has; ``None`` for any."""
    for line in lines:
        text = line.text
        if encoding is not None and not text.isascii():
            try:
                text.encode(encoding)
            except UnicodeEncodeError:
                text = text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
        yield line._replace(text=text)


def fit(lines: Iterable[Line], width: int) -> Iterator[Line]:
    """Yield `lines`, shortened to `width` columns."""
    for line in lines:
        yield line._replace(text=cut(line.text, width))


def cells(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """Return `text`, shortened to at most `width` columns, at least one."""
    if cells(text) <= width:
        return text
    used = 0
    for number, char in enumerate(text):
        used += cells(char)
        if used > width - 1:
            return text[:number] + "…"
    return text


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return `text` with blanks up to `width` columns, after it or, with `right`, before it."""
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def label(type: str, name: str) -> str:
    """Return type and name, once if they are equal, as they are by default."""
    return called(type, name, _NAME)


def times(ns: float | None, *, zero: str = "") -> str:
    """Return a duration, or `zero` if there is none."""
    return format_ns(round(ns)) if ns else zero


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    words: Container[int] = (0,),
    flexible: int = 0,
    spare: Sequence[int] = (),
) -> list[str]:
    """Return a table as lines, its heads first.

    Columns in which no row has anything are left out. Where the table would be wider than `width`, one column of words
    is shortened to a fifth of that, then columns are left out, and then words are shortened to an eighth. Numbers
    never are: half a number is a wrong one.

    Args:
        heads: Of the columns.
        rows: Each as long as `heads`.
        width: Columns of the page.
        words: Columns of words, which are aligned on the left.
        flexible: The column to be shortened.
        spare: The columns that may be left out, the first one first.
    """
    used = [number for number in range(len(heads)) if any(row[number] for row in rows)]
    if not used:
        return ["" for _ in range(len(rows) + 1)]
    needed = {number: max(cells(line[number]) for line in (heads, *rows)) for number in used}
    if flexible in needed:
        needed[flexible] = min(needed[flexible], max(_WORDS, width // 5))
    for number in spare:
        if sum(needed.values()) + 2 * (len(needed) - 1) <= width:
            break
        needed.pop(number, None)
    used = list(needed)
    lines = [[line[number] for number in used] for line in (heads, *rows)]
    widths = [max(map(cells, column)) for column in zip(*lines, strict=True)]
    if flexible in used:
        at = used.index(flexible)
        room = width - sum(widths) + widths[at] - 2 * (len(widths) - 1)
        widths[at] = min(widths[at], max(room, width // 8))
        for line, text in zip(lines, _shortened([line[at] for line in lines], widths[at]), strict=True):
            line[at] = text
    return [
        "  ".join(pad(cell, widths[at], right=used[at] not in words) for at, cell in enumerate(line)).rstrip()
        for line in lines
    ]


def _shortened(texts: Sequence[str], width: int) -> list[str]:
    """Return `texts`, each cut to `width` columns: at its end, or, where that makes two of them alike, in the middle.

    Hosts of one company differ in what is first of their names, or in their ports.
    """
    short = [cut(text, width) for text in texts]
    if len(set(short)) == len(set(texts)):
        return short
    return [text if cells(text) <= width else _ends(text, width) for text in texts]


def _ends(text: str, width: int) -> str:
    """Return the first and the last of `text`, in `width` columns."""
    last = cut(text[::-1], width // 2 + 1)[::-1]
    return cut(text, width - cells(last) + 1) + last.removeprefix("…")


def sparkline(values: Sequence[float], top: float) -> str:
    """Return one character per value, as high as it is of `top`; what is above 0 shows at least a little."""
    if top <= 0:
        return " " * len(values)
    last = len(_BARS) - 1
    return "".join(_BARS[min(last, max(value > 0, round(value / top * last)))] for value in values)
