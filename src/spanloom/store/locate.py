"""Where the record is, and which run of it a reference means."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from spanloom.exceptions import RunNotFoundError

__all__ = ["LAST", "default_path", "locate"]

LAST: Final = "last"
"""Stands for the run that was started last."""
_DEFAULT: Final = ".spanloom/runs.db"
_OF_FILES: Final = frozenset({".", ":", "/", os.sep})
"""Characters that may be in the name of a file, but never in the id of a run."""
_IS_ID: Final = r"[0-9a-fA-F]*|last"


def default_path() -> Path:
    """Return the default record: ``SPANLOOM_RECORD`` from the environment, or ``.spanloom/runs.db``."""
    return Path(os.environ.get("SPANLOOM_RECORD", "").strip() or _DEFAULT)


def locate(ref: str, path: str | os.PathLike[str] | None = None) -> tuple[Path, str]:
    """Return the file and the reference in it that a user means by RUN.

    Args:
        ref: ``last``, the beginning of a run's id, a file (then its last run), or ``FILE:ID``.
        path: The file in which to look for an id; ``None`` for the default one.

    Returns:
        A path, and what `StoreReader.find` takes.

    Raises:
        RunNotFoundError: `ref` can only be a file, and that does not exist.
    """
    if ref == LAST:  # even if a file has that name: ./last means the file
        return (default_path() if path is None else Path(path)), ref
    # Not Path.is_file: up to 3.13 that raises for a name that is too long, or in a folder that may not be searched.
    if os.path.isfile(ref):  # noqa: PTH113 -- the same
        return Path(ref), LAST
    file, colon, rest = ref.rpartition(":")
    if colon and file and os.path.isfile(file):  # noqa: PTH113 -- the same
        return Path(file), rest or LAST
    if any(mark in ref for mark in _OF_FILES):
        missing = file if colon and file and re.fullmatch(_IS_ID, rest) else ref
        raise RunNotFoundError(f"there is no file {missing!r}, and no id of a run looks like that")
    return (default_path() if path is None else Path(path)), ref
