"""The origin of a run: its process, its command line, and the start that its times count from."""

from __future__ import annotations

import os
import platform
import socket
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from spanloom.events.clean import clean_arguments, clean_text
from spanloom.events.clock import monotonic_ns, wall_ns
from spanloom.store.process import machine, process_start

__all__ = ["Origin"]

MAX_ARGUMENTS: Final = 1_000
MAX_ARGUMENT: Final = 2_000
"""Characters of one argument, and of the working directory."""


class Origin:
    """What is recorded of a run at its start.

    Args:
        name: Name of the run; ``None`` for that of the script or module.

    Attributes:
        run_id: 32 hexadecimal digits, random.
        began_ns: The start, on the clock of the events.
    """

    def __init__(self, name: str | None = None) -> None:
        self.run_id: str = os.urandom(16).hex()
        self.began_ns: int = monotonic_ns()
        self._name = name

    def row(self) -> tuple[Any, ...]:
        """Return the columns of ``run`` from ``run_id`` to ``started_wall_ns``."""
        argv = clean_arguments(sys.orig_argv[:MAX_ARGUMENTS], MAX_ARGUMENT)
        pid = os.getpid()
        return (
            self.run_id,
            clean_text(self._name or _name_of_program(), MAX_ARGUMENT),
            msgspec.json.encode(argv).decode(),
            clean_text(_cwd(), MAX_ARGUMENT),
            clean_text(socket.gethostname(), MAX_ARGUMENT),
            pid,
            machine(),
            process_start(pid),
            platform.python_version(),
            _version(),
            wall_ns(self.began_ns),
        )


def _name_of_program() -> str:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and type(spec.name) is str:  # python -m
        return str(spec.name.removesuffix(".__main__"))
    return Path(sys.argv[0] if sys.argv and sys.argv[0] else "python").name


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return ""


def _version() -> str:
    """Return the installed version, without importing `importlib.metadata`, which takes 10 ms."""
    # First beside us and in other folders of packages, as those of the standard library have many files.
    installed = [os.path.dirname(os.path.dirname(os.path.dirname(__file__))), *sys.path]  # noqa: PTH120 -- three
    for folder in sorted(installed, key=lambda folder: not str(folder).endswith("-packages")):
        try:
            names = os.listdir(folder)  # noqa: PTH208 -- of a Path it would make a thousand
        except (OSError, TypeError):  # not a folder: a zip, or an entry for a custom importer
            continue
        for name in names:
            if name.startswith("spanloom-") and name.endswith(".dist-info"):
                return name.removeprefix("spanloom-").removesuffix(".dist-info")
    from importlib.metadata import version

    try:
        return version("spanloom")
    except ImportError:  # a source tree that is not installed, or a library that this user may not read
        return "unknown"
