"""``spanloom run``: a script with recording on, and otherwise as ``python`` runs it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import click

from spanloom._wiring import handler_names
from spanloom.cli._launch import launch, program_of
from spanloom.cli._options import example
from spanloom.instrument.targets import TARGETS

__all__ = ["run"]


class _LikePython(click.Command):
    """Takes options up to the script or ``-m MODULE``; what comes then is the script's, whatever it looks like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = (param for param in self.get_params(ctx) if isinstance(param, click.Option))
        valued = {name for option in options if not option.is_flag for name in option.opts}
        return super().parse_args(ctx, _end_options(args, valued))


def _end_options(args: list[str], valued: set[str]) -> list[str]:
    """Return `args` with ``--`` after ``-m MODULE``, which ends the options as it does for ``python``."""
    is_value = False
    for index, arg in enumerate(args):
        if is_value:
            is_value = False
        elif arg.startswith("-m"):
            end = index + (2 if arg == "-m" else 1)
            return [*args[:end], "--", *args[end:]] if end <= len(args) else args
        elif not arg.startswith("-") or arg in ("-", "--"):
            break
        else:
            is_value = arg in valued
    return args


@click.command(
    cls=_LikePython,
    context_settings={"allow_interspersed_args": False},
    epilog=example(
        "spanloom run fetch.py --documents 200",
        "spanloom run --deep --record runs.db -m my_package.pipeline",
    ),
)
@click.option("-m", "module_name", metavar="MODULE", help="Run a module, as python -m does.")
@click.option(
    "--record",
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="The file to record into.  [default: $SPANLOOM_RECORD, else .spanloom/runs.db]",
)
@click.option(
    "--handlers",
    metavar="NAMES",
    callback=lambda _ctx, _param, names: _known(names, "handler", handler_names),
    help="More handlers, as SPANLOOM_HANDLERS names them: debug,otel.",
)
@click.option(
    "--instrument",
    "libraries",
    metavar="NAMES",
    callback=lambda _ctx, _param, names: _known(names, "target", lambda: ["all", "none", *TARGETS]),
    help="Libraries to instrument: asyncio,tenacity; all or none; all,logging to show what jobs log, too.  "
    "[default: $SPANLOOM_INSTRUMENT, else all]",
)
@click.option(
    "--payloads", is_flag=True, help="Record the payloads of events, redacted; otherwise no contents."
)
@click.option("--deep", is_flag=True, help="Measure how long each job holds the event loop.")
@click.option(
    "--stall-after",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Log why a batch stands still once nothing in it has moved for this long.  [default: 30]",
)
@click.option(
    "--dump-signal",
    metavar="SIGNAL",
    callback=lambda _ctx, _param, name: _signal(name),
    help="On this signal, such as USR1, write the verdict and all stacks to standard error.",
)
@click.option(
    "-v", "--verbose", is_flag=True, help="Say at the end, on standard error, what was recorded, and where."
)
@click.argument(
    "arguments", nargs=-1, type=click.UNPROCESSED, metavar="SCRIPT | - | -m MODULE [ARGUMENTS]..."
)
def run(
    module_name: str | None,
    path: Path | None,
    handlers: str | None,
    libraries: str | None,
    payloads: bool,
    deep: bool,
    stall_after: float | None,
    dump_signal: int | None,
    verbose: bool,
    arguments: tuple[str, ...],
) -> Callable[[], NoReturn]:
    """Run a Python script with recording on.

    The script is the same program as without: its arguments, exit code, streams, signals and tracebacks are untouched,
    and it keeps the process id. What it does through libraries that have no events of their own, such as asyncio, is
    shown as well. Options come before the script. A script called - is read from the standard input.
    """
    if module_name is None and not arguments:
        raise click.UsageError("a script is missing, or -m and the name of a module")
    return partial(
        launch,
        *program_of(module_name, arguments),
        path=path,
        handlers=handlers,
        libraries=libraries,
        payloads=payloads,
        deep=deep,
        stall_after=stall_after,
        dump_signal=dump_signal,
        verbose=verbose,
    )


def _known(names: str | None, what: str, known: Callable[[], Sequence[str]]) -> str | None:
    """Return `names` if all of them are known: a name that is mistyped here would otherwise show in nothing."""
    if names is None:
        return None
    for name in filter(None, map(str.strip, names.split(","))):
        if name not in known():
            raise click.BadParameter(f"there is no {what} {name!r}; there are: {', '.join(known())}")
    return names


def _signal(name: str | None) -> int | None:
    if name is None:
        return None
    found = getattr(signal, f"SIG{name.upper().removeprefix('SIG')}", None)
    if not isinstance(found, signal.Signals) or found in {signal.SIGKILL, signal.SIGSTOP}:
        raise click.BadParameter(
            f"{name!r} is not a signal that can be handled; USR1 and USR2 are free for such things"
        )
    return int(found)
