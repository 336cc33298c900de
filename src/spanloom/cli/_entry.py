"""The entry point of the command line, which runs most programs without click.

``spanloom run fetch.py`` and ``spanloom run -m fetch`` say all by themselves: nothing has to be parsed, and click,
which takes 8 ms to load, is not. Everything else is click's, every error included.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from spanloom._command import keep_loaded

__all__ = ["main", "without_options"]


def main(args: Sequence[str] | None = None, prog_name: str | None = None) -> NoReturn:
    """Run the command line; the process ends with it.

    Args:
        args: The arguments; by default those of the process.
        prog_name: What the help calls the program; by default the name it was started by.

    Raises:
        SystemExit: always.
    """
    plain = without_options(sys.argv[1:] if args is None else args)
    if plain is not None:
        from spanloom.cli._launch import launch, program_of
        from spanloom.cli._script import BY_SIGINT

        try:
            run = partial(launch, *program_of(*plain))
        except KeyboardInterrupt:  # while the script is read, which may be a pipe
            sys.exit(BY_SIGINT)
        except Exception:  # noqa: BLE001, S110 -- the other way finds it, too, and has the words for it
            pass
        else:
            run()
    from spanloom.cli._main import main as parse

    keep_loaded()
    parse(args, prog_name)


def without_options(args: Sequence[str]) -> tuple[str | None, tuple[str, ...]] | None:
    """Return what the arguments of the command run, if they are ``run`` without an option of its own.

    Returns:
        The name behind ``-m``, or ``None``, and what comes then, as `spanloom.cli.run.run` gets them; ``None`` for
        everything else.
    """
    match args:
        case ["run", "-m", name, *rest] if not name.startswith("-"):
            return name, tuple(rest)
        case ["run", script, *rest] if script == "-" or not script.startswith("-"):
            return None, (script, *rest)
    return None
