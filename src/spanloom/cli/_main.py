"""The group of commands. A command's module is imported when it is run: most need what others do not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, cast

import click

from spanloom.cli._errors import ExitCode, OutputClosed, ending
from spanloom.handlers._text import printable

__all__ = ["commands", "main"]

COMMANDS: Final[dict[str, str]] = {
    "run": "run a script with recording on, otherwise unchanged",
    "ls": "list the recorded runs",
    "show": "show one run: its tree, times, errors, what was slow",
    "top": "watch a run, or see what a dead one was doing",
    "why": "say why a process or a run is stuck or slow",
    "diff": "compare two runs: what got slower, what fails more",
    "export": "write a run as OTLP, Perfetto, HTML, JSON or CSV",
    "doctor": "check the installation, the endpoint and the file",
}
"""Name of a command, and the one line that ``spanloom --help`` says of it. Its function, of that name, is in the module
``spanloom.cli.NAME``. In the order in which the help lists them."""


class _Commands(click.Group):
    """A group that knows its commands by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"spanloom.cli.{cmd_name}")
        command = cast("click.Command", getattr(module, cmd_name))
        command.short_help = COMMANDS[cmd_name]  # completion shows it, too
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(_unknown(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    # A closed pipe is caught before click sees it, which would end with 1. The help is printed by `make_context`.

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError:
            raise OutputClosed from None

    def invoke(self, ctx: click.Context) -> Any:  # Any: as click has it
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise OutputClosed from None


def _unknown(name: str) -> str:
    import difflib

    if name.endswith(".py"):
        return f"{name!r} is no command; to run a script: spanloom run {printable(name)}"
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    return f"{name!r} is no command; " + (
        f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spanloom")
def commands() -> None:
    """Run async batches and see everything: record a run, and look into it, alive or dead."""


def main(args: Sequence[str] | None = None, prog_name: str | None = None) -> NoReturn:
    """Run the command line; the process ends with it.

    A command returns ``None``, or its exit code, or what is to be called when the parsing of arguments is over and
    done with: a script that is to be run must not have click around it, which has a mind of its own about
    ``SystemExit``, Ctrl-C and closed pipes.

    Args:
        args: The arguments; by default those of the process.
        prog_name: What the help calls the program; by default the name it was started by.

    Raises:
        SystemExit: always.
    """
    answer: Callable[[], object] | int | None = ending(lambda: _parse(args, prog_name))
    if callable(answer):
        answer = cast("int | None", answer())
    sys.exit(ExitCode.OK if answer is None else answer)


def _parse(args: Sequence[str] | None, prog_name: str | None) -> Callable[[], object] | int | None:
    answer = commands.main(args, prog_name, standalone_mode=False)
    return cast("Callable[[], object] | int | None", answer)
