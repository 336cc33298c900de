"""How a failed command ends: with one line, and an exit code for the kind of failure."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from enum import IntEnum
from typing import IO, Any, TypeVar

import click

from spanloom.exceptions import SpanloomError
from spanloom.handlers._text import printable

__all__ = ["ExitCode", "OutputClosed", "ending"]

R = TypeVar("R")

MESSAGE_CHARACTERS = 2_000
"""Longest message, as it may name a file or a run, whose names may be of any length."""


class ExitCode(IntEnum):
    """The exit codes of the commands; ``spanloom run`` has that of the script instead."""

    OK = 0
    FAILED = 1
    """It failed: no such run, no such file, a damaged one. For ``doctor``: there is a problem."""
    USAGE = 2
    """Wrong usage: no such option, an argument missing."""
    INTERRUPTED = 130
    """Ctrl-C, as shells have it: 128 + SIGINT."""
    OUTPUT_CLOSED = 141
    """The reader of its output, such as ``head``, has closed it: 128 + SIGPIPE, as for a C program."""


class OutputClosed(click.ClickException):
    """The reader has closed the output. That is no error, so no message is written."""

    exit_code = ExitCode.OUTPUT_CLOSED

    def __init__(self) -> None:
        super().__init__("the output was closed")

    def show(self, file: IO[Any] | None = None) -> None:
        """Write nothing, and keep the end of the process from trying to write what is still buffered."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def ending(command: Callable[[], R]) -> R | int:
    """Call `command`; return what it returns or, if it fails, say so in one line and return its exit code.

    An unforeseen exception, which is a fault of spanloom, is raised with its traceback.
    """
    try:
        try:
            answer = command()
            if sys.stdout is not None:  # as it is with >&-
                sys.stdout.flush()
        except BrokenPipeError:
            raise OutputClosed from None
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except click.NoSuchOption as error:
        alike = _alike(error.option_name, error.possibilities or ())
        click.NoSuchOption(error.option_name, error.message, alike, error.ctx).show()
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SpanloomError as error:
        _say(str(error))
        return ExitCode.FAILED
    except OSError as error:  # a file to be written, a folder that may not be read
        where = f": {error.filename}" if error.filename else ""
        _say(f"{error.strerror or error}{where}")
        return ExitCode.FAILED
    return answer


def _alike(option: str, options: Iterable[str]) -> list[str]:
    """Return those of `options` that `option` may be a misspelling of; the hyphens, which all have, do not count."""
    names = {name.lstrip("-"): name for name in options}
    return [names[name] for name in get_close_matches(option.lstrip("-"), names)]


def _say(message: str) -> None:
    lines = (printable(line, MESSAGE_CHARACTERS) for line in message.splitlines())
    click.echo("Error: " + "\n".join(lines), err=True)
