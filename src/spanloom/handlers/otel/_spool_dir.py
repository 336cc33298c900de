"""A spool's directory: which files belong to which process, and which ones a dead process has left.

Each process that writes there does so as a *run* of its own: a lock file, and numbered segments. It holds the lock
(flock) for as long as it lives; the kernel lets go of it with the process, however that ends. A run whose lock
is free is dead, and whoever gets the lock sends what the run has left. So no two processes ever send or delete
the same segment, and no process waits for another.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["Run", "SpoolDir"]

_logger = logging.getLogger("spanloom.handlers.otel")

_NAME: Final = re.compile(r"(?P<run>[0-9a-f]{24})(\.lock|-[0-9]{6,}\.spans)")
_random = random.SystemRandom()  # not the module's own: a fork, or the user's seed, would repeat its numbers


class Run:
    """One process's files in the directory; its lock is ours.

    Args:
        folder: The directory.
        name: 24 hexadecimal digits: the time, and a random number.
        lock: Descriptor of the locked file.
    """

    def __init__(self, folder: Path, name: str, lock: int) -> None:
        self.name = name
        self._folder = folder
        self._lock = lock
        self._number = 0

    def next_path(self) -> Path:
        """Return the path of the next segment."""
        self._number += 1
        return self._folder / f"{self.name}-{self._number:06d}.spans"

    def paths(self) -> list[Path]:
        """Return the paths of the segments, in the order in which they were written."""
        return sorted(self._folder.glob(f"{self.name}-*.spans"))

    def release(self, *, remove: bool) -> None:
        """Let go of the lock; with `remove`, delete it, since there is nothing left to lock."""
        if self._lock >= 0:
            if remove:
                self.lock_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    @property
    def lock_path(self) -> Path:
        """The file that is locked."""
        return self._folder / f"{self.name}.lock"


class SpoolDir:
    """The directory of a spool.

    Args:
        path: Where it is; made, for its owner only, if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ignored: set[str] = set()

    def new_run(self) -> Run:
        """Begin to write.

        Raises:
            OSError: the directory cannot be made, or not be written to.
        """
        while True:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{time.time_ns():016x}{_random.getrandbits(32):08x}"
            run = self._lock(name, os.O_CREAT | os.O_EXCL)
            if run is not None:
                return run
            # Else another process took it for dead between its making and its locking.

    def dead_run(self) -> Run | None:
        """Return the oldest run that has left something and is alive no more, locked; ``None`` if there is none."""
        for name in sorted(self._runs()):
            try:
                run = self._lock(name, os.O_CREAT)
            except OSError as error:
                self.ignore(name, str(error))
                continue
            if run is None:
                continue
            if run.paths():
                return run
            run.release(remove=True)  # it died before it wrote anything, or after everything was sent
        return None

    def ignore(self, name: str, reason: str) -> None:
        """Leave the files of a run, or a strange one, where they are; say so once."""
        if name not in self._ignored:
            self._ignored.add(name)
            _logger.warning("%s in the spool %s is left alone: %s", name, self.path, reason)

    def total_bytes(self) -> int:
        """Return the size of all segments, of other processes too; strange files are none of our business."""
        total = 0
        for entry in self._entries():
            try:
                if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                pass  # sent meanwhile
        return total

    def _runs(self) -> set[str]:
        found = set()
        for entry in self._entries():
            match = _NAME.fullmatch(entry.name)
            if match is None and entry.is_dir(follow_symlinks=False):
                continue  # another exporter's spool, or none of our business
            if match is None:
                self.ignore(entry.name, "it is not a file of a spool")
            elif match["run"] not in self._ignored:
                found.add(match["run"])
        return found

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self.path) as entries:
                yield from entries
        except FileNotFoundError:
            pass

    def _lock(self, name: str, flags: int) -> Run | None:
        """Return a run whose lock was free; ``None`` if it was not, or has just been given up."""
        path = self.path / f"{name}.lock"
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o600)
        is_ours = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(lock), path.lstat())
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if not is_ours:
                os.close(lock)
        return Run(self.path, name, lock) if is_ours else None
