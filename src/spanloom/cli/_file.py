"""Where a command writes data: to a file, which is complete or not there at all, or to standard output."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from spanloom.cli._output import standard_output

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

__all__ = ["STDOUT", "Tally", "writing_to"]

STDOUT: Final = "-"
"""Stands for standard output where a file is asked for."""


class Tally(io.RawIOBase):
    """Passes on what is written, and counts the bytes, which a pipe or a device cannot tell.

    Args:
        file: Where it goes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes: int = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        written = self._file.write(data)
        self.bytes += written
        return written


@contextmanager
def writing_to(path: str) -> Iterator[Tally]:
    """Open `path`, or standard output for ``-``, to write a file there.

    A file appears under its name only when it is complete; until then, an older one stays, whatever happens.
    A pipe or a device is written to as it is.

    Raises:
        OSError: it cannot be written.
    """
    if path == STDOUT:
        stream = standard_output()
        stream.flush()
        yield Tally(stream.buffer)
        stream.buffer.flush()
        return
    given = Path(path)
    # The path as given, and not what it leads to: /dev/stdout may lead to a pipe, which has no name.
    if given.exists() and not given.is_file():
        with given.open("wb") as file:
            yield Tally(file)
        return
    target = Path(os.path.realpath(path))  # a link stays one, and what it leads to is replaced
    # Beside it, because it has to be on the same file system; open() gives it the usual permissions.
    partial = target.with_name(f".{secrets.token_hex(4)}.part")
    try:
        file = partial.open("xb")
    except FileNotFoundError as error:  # the folder does not exist; the temporary name would confuse the user
        raise FileNotFoundError(error.errno, "there is no such folder", str(target.parent)) from None
    try:
        with file:
            yield Tally(file)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
