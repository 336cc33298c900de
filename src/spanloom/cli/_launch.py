"""How ``spanloom run`` runs a program once its arguments are known; without click, which takes time to load."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from spanloom._command import keep_loaded
from spanloom._wiring import Recording, record_process, watch_process
from spanloom.cli._script import Program, exit_code_of, module, script, without_us

__all__ = ["launch", "program_of"]


def program_of(module_name: str | None, arguments: Sequence[str]) -> tuple[Program, str]:
    """Return the program that ``python`` would run, and the name of its run.

    Args:
        module_name: That of ``-m``; ``None`` if the first argument is a script.
        arguments: The arguments after that.

    Raises:
        SystemExit: there is no such script; a message was written to standard error.
    """
    if module_name is None:
        return script(arguments[0], arguments[1:]), Path(arguments[0]).name
    return module(module_name, arguments), module_name


def launch(
    program: Program,
    name: str,
    *,
    path: Path | None = None,
    handlers: str | None = None,
    libraries: str | None = None,
    payloads: bool = False,
    deep: bool = False,
    stall_after: float | None = None,
    dump_signal: int | None = None,
    verbose: bool = False,
) -> NoReturn:
    """Run `program` to its end with recording on; the arguments are the options of the command.

    Raises:
        SystemExit: the program has ended, or has raised one, with the same code. It is not the same exception: that
            ends here, without our frames, which would be seen where a task of asyncio complains that it has it still.
        BaseException: what else the program has raised.
    """
    if handlers is not None:
        os.environ["SPANLOOM_HANDLERS"] = handlers
    with _loaded_for_good():
        recording = record_process(path, name=name, payloads=payloads, deep=deep, libraries=libraries)
        watch_process(stall_after=stall_after, dump_signal=dump_signal, recording=recording)
    code: object = None
    try:
        program()
    except SystemExit as error:
        recording.end(exit_code_of(error))
        error.__traceback__ = without_us(error.__traceback__)
        code = error.code
    except BaseException as error:
        recording.end(exit_code_of(error))
        raise
    else:
        recording.end(0)
    finally:
        if verbose:
            _say(recording)
    raise SystemExit(code)


@contextmanager
def _loaded_for_good() -> Iterator[None]:
    """Load without garbage collection in this block, and exclude what was loaded from later ones.

    They exist until the end. To traverse them would take a tenth of the time of the start, and as much at the end.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
        keep_loaded()


def _say(recording: Recording) -> None:
    import click

    from spanloom.handlers._text import printable
    from spanloom.viewer._ids import short_id

    where = printable(str(recording.path), 2_000)
    lost = f"; events lost: {recording.lost:,}" if recording.lost else ""
    said = f"recorded as {short_id(recording.run_id)} in {where}{lost}"
    click.echo(
        said if recording.has_begun else f"not recorded: nothing could be written to {where}", err=True
    )
