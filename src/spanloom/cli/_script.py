"""Runs a script in this process as ``python script.py`` would, so that nothing but the recording is different.

Theory of operation. The process is the one that was started: its id, its standard streams, its signals and its
environment are what a shell or a supervisor gave it, and nobody stands between. What an interpreter sets up for its
main program is set up anew here: ``__main__``, ``sys.argv``, ``sys.path[0]``. The program then runs in the main thread,
above a few frames of ours. An exception goes down through them to the interpreter, which does with it what it does with
any: exit codes, Ctrl-C and ``sys.excepthook`` are its own. Only our frames are taken off the traceback that it prints.

What remains different: ``sys.orig_argv``; our frames where a whole *stack* is looked at, or counted, as the recursion
limit does; the modules that are loaded already; and the words for a source file that has null bytes in it or is not in
the encoding that it says.
"""

from __future__ import annotations

import builtins
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any, Final, cast

__all__ = ["BY_SIGINT", "Program", "exit_code_of", "module", "script", "without_us"]

STDIN: Final = "-"
"""In place of a file name: the program is read from standard input."""
NO_SUCH_FILE: Final = 2
"""The exit code of ``python`` where it cannot open its script."""
BY_SIGINT: Final = 130
"""What a shell says of a program that Ctrl-C has ended."""
C_LONG: Final = 1 << 63
_OURS: Final = os.path.join(os.path.dirname(__file__), "")  # noqa: PTH118, PTH120 -- what paths in frames are

_replaced: Final[list[ModuleType]] = []
"""The ``__main__`` of the command, kept alive to the end of the process."""

Program = Callable[[], object]
"""Runs the main program to its end, and raises what that raises."""


def script(path: str, arguments: Sequence[str]) -> Program:
    """Return the program `path`: Python source, a ``.pyc``, or a folder or zip with a ``__main__.py``; ``-`` is stdin.

    Raises:
        SystemExit: there is no such file; it has been said on standard error, as ``python`` says it.
    """
    if path == STDIN:
        return _from_stdin(arguments)
    file = path if Path(path).is_absolute() else os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118 -- a Path would drop the dots that Python keeps
    argv = [path, *arguments]
    if _is_importable(path):
        run_as_main = _runner()

        def run_package() -> None:
            _set_up(argv, file, is_program=True)
            _call(run_as_main, "__main__", False)

        return run_package
    source = _read(path, file)
    if path.endswith(".pyc"):
        import pkgutil  # noqa: F401 -- `_code_of_pyc` will, when there may be a pkgutil.py beside the script

    def run_file() -> None:
        main = _set_up(argv, str(Path(path).resolve().parent))
        loader = (SourcelessFileLoader if path.endswith(".pyc") else SourceFileLoader)("__main__", file)
        main.update(__file__=file, __cached__=None, __loader__=loader)
        _call(_execute, source, file, main)

    return run_file


def _from_stdin(arguments: Sequence[str]) -> Program:
    """Return the program read from standard input, up to its end."""
    source = b"" if sys.stdin is None else sys.stdin.buffer.read()

    def run_stdin() -> None:
        main = _set_up([STDIN, *arguments], "")
        main.update(__file__="<stdin>", __cached__=None, __loader__=BuiltinImporter)
        _call(_execute, source, "<stdin>", main)

    return run_stdin


def module(name: str, arguments: Sequence[str]) -> Program:
    """Return the program that ``python -m name`` runs."""
    run_as_main = _runner()

    def run_module() -> None:
        _set_up(["-m", *arguments], str(Path.cwd()))  # "-m" until its file is found
        _call(run_as_main, name, True)

    return run_module


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of a process whose main program ends with `error`, as a shell sees it."""
    if isinstance(error, SystemExit):
        code = error.code
        if not isinstance(code, int):
            return int(code is not None)
        # As the interpreter makes a C long of it, and the system a byte of that.
        return (code if -C_LONG <= code < C_LONG else -1) & 0xFF
    return BY_SIGINT if isinstance(error, KeyboardInterrupt) else 1


def _runner() -> Callable[[str, bool], object]:
    """Return what runs a module as the main program, by its name."""
    import runpy  # late: most programs are files, which do not need it

    # The function that the interpreter calls itself, so that messages and visible frames are the same.
    run: Any = vars(runpy)["_run_module_as_main"]
    return cast("Callable[[str, bool], object]", run)


def _is_importable(path: str) -> bool:
    """Tell whether modules can be imported from `path`, by which the interpreter knows folders and zips."""
    for hook in sys.path_hooks:
        with suppress(ImportError):
            hook(path)
            return True
    return False


def _execute(source: bytes, file: str, main: dict[str, object]) -> None:
    is_compiled = file.endswith(".pyc")
    code = _code_of_pyc(source) if is_compiled else compile(source, file, "exec", dont_inherit=True)
    exec(code, main)  # noqa: S102 -- what it is for


def _code_of_pyc(data: bytes) -> CodeType:
    import pkgutil

    code: CodeType | None = pkgutil.read_code(io.BytesIO(data))
    if code is None:
        raise RuntimeError("Bad magic number in .pyc file")  # as the interpreter has it
    return code


def _set_up(argv: list[str], folder: str, *, is_program: bool = False) -> dict[str, object]:
    """Make the process what it is at the start of a main program; return the names of ``__main__``.

    Only now: what is imported before comes from where the command is at home, not from the folder of the script.
    """
    sys.argv[:] = argv
    # The first entry is that of the command now: the folder of the `spanloom` that was typed. With `python -P` or
    # PYTHONSAFEPATH there is none, and none is wanted, unless the program itself is to be found there.
    if not sys.flags.safe_path:
        sys.path[0] = folder
    elif is_program:
        sys.path.insert(0, folder)
    # When the command's own file has ended, the interpreter deletes `__file__` from its names, and holds no reference
    # to them by then: without ours they are freed memory, and the process dies of it.
    _replaced.append(sys.modules["__main__"])
    sys.modules["__main__"] = main = ModuleType("__main__")
    names = main.__dict__
    names["__builtins__"] = builtins  # exec would put the dictionary of that module there
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    return names


def _read(path: str, file: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        sys.stderr.write(
            f"{sys.executable}: can't open file {file!r}: [Errno {error.errno}] {error.strerror}\n"
        )
        raise SystemExit(NO_SUCH_FILE) from None


# -- exceptions --------------------------------------------------------------------------------------------------------


def _call(function: Callable[..., object], *arguments: object) -> None:
    try:
        function(*arguments)
    except SystemExit:
        raise
    except BaseException as error:
        _show_without_us(error.__traceback__)
        raise


def without_us(traceback: TracebackType | None) -> TracebackType | None:
    """Return `traceback` without our frames, which are the first ones."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_OURS):
        traceback = traceback.tb_next
    return traceback


def _show_without_us(traceback: TracebackType | None) -> None:
    """Remove our frames from the traceback that the interpreter will print."""
    traceback = without_us(traceback)
    hook = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        sys.excepthook = hook
        error.__traceback__ = sys.last_traceback = traceback
        try:
            hook(kind, error, traceback)
        except SystemExit:
            raise
        except BaseException as failure:  # noqa: BLE001 -- the interpreter says it like this, but with this frame
            sys.stderr.write("Error in sys.excepthook:\n")
            inside = failure.__traceback__ and failure.__traceback__.tb_next
            sys.__excepthook__(type(failure), failure.with_traceback(inside), inside)
            sys.stderr.write("\nOriginal exception was:\n")
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = excepthook
