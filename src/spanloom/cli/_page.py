"""Printing a page of `spanloom.viewer`: styled on a terminal, else as plain text."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import click

from spanloom.cli._output import console, is_terminal, print_text
from spanloom.viewer._layout import WIDTH, Line, plain

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["all_option", "page_width", "print_page", "styled", "width_option"]

_STYLES: Final = {"head": "bold", "bad": "red", "dim": "dim"}

width_option = click.option(
    "--width",
    type=click.IntRange(min=64, max=1_000),
    help=f"Columns of the page.  [default: those of the terminal, else {WIDTH}]",
)
all_option = click.option(
    "--all", "everything", is_flag=True, help="Show everything, where it says that there is more."
)


def page_width(width: int | None) -> int:
    """Return how many columns a page may have."""
    if width is not None:
        return width
    return max(64, console().width) if is_terminal() else WIDTH


def print_page(lines: Iterable[Line]) -> None:
    """Print `lines`, in characters that the output can show."""
    if not is_terminal():
        print_text(line.text for line in lines)
        return
    terminal = console()
    for line in plain(lines, sys.stdout.encoding):
        terminal.print(styled(line), soft_wrap=True)


def styled(line: Line) -> Text:
    """Return a line as a terminal shows it."""
    from rich.text import Text

    return Text(line.text, style=_STYLES.get(line.style, ""))
