"""How a command ends that was not able to do what it was asked to: one line, and an exit code that says what kind."""

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
"""Of one line of a message. A message may name a file or a run, and those may have any name."""


class ExitCode(IntEnum):
    """What a command says with its exit code; ``spanloom run`` has that of the script instead."""

    OK = 0
    FAILED = 1
    """It was not able to: no such run, no such file, a damaged one. Or, of ``doctor``: something is wrong."""
    USAGE = 2
    """It was asked wrongly: no such option, an argument missing."""
    INTERRUPTED = 130
    """Ctrl-C, as shells have it: 128 + SIGINT."""
    OUTPUT_CLOSED = 141
    """Whoever read its output, ``head`` for one, had enough: 128 + SIGPIPE, as a program in C would end."""


class OutputClosed(click.ClickException):
    """Nobody reads the output any more. That is the reader's choice, and nothing is said of it."""

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

    What is not foreseen, a mistake in spanloom, is raised with its traceback.
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
    """Return those of `options` that `option` may be a slip of; the hyphens, which all have, make none alike."""
    names = {name.lstrip("-"): name for name in options}
    return [names[name] for name in get_close_matches(option.lstrip("-"), names)]


def _say(message: str) -> None:
    lines = (printable(line, MESSAGE_CHARACTERS) for line in message.splitlines())
    click.echo("Error: " + "\n".join(lines), err=True)
