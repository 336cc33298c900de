"""The user's options for the spool, checked before anything is opened."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Final, NamedTuple, Self

from spanloom._numbers import check_count, check_number

__all__ = ["SpoolOptions"]

MIN_BYTES: Final = 1 << 20
"""Smallest bound on the bytes of a spool: some segments of the smallest kind."""


class SpoolOptions(NamedTuple):
    """Where, how much, how long.

    Attributes:
        path: The directory.
        max_bytes: What may lie there; ``None`` for the default.
        max_age_s: How long; ``None`` for the default.
    """

    path: Path
    max_bytes: int | None = None
    max_age_s: float | None = None

    @classmethod
    def checked(
        cls, path: str | os.PathLike[str], max_bytes: int | None = None, max_age_s: float | None = None
    ) -> Self:
        """Return the options.

        Raises:
            ValueError: one of them cannot be, or the system has no file locks.
        """
        if max_bytes is not None:
            check_count(max_bytes, "spool_max_bytes", least=MIN_BYTES)
        if max_age_s is not None and not check_number(max_age_s, "spool_max_age_s") > 0:
            raise ValueError(f"spool_max_age_s must be more than 0 seconds, not {max_age_s}")
        folder = Path(path).expanduser().absolute()  # now: the process may change its directory
        if folder.exists() and not folder.is_dir():
            raise ValueError(
                f"spool must be a directory, or a place where one can be made; {folder} is neither"
            )
        if importlib.util.find_spec("fcntl") is None:
            raise ValueError("spool= needs the file locks of a POSIX system; leave it out on this one")
        return cls(folder, max_bytes, max_age_s)

    def part(self, number: int) -> SpoolOptions:
        """Return the options of the spool of the exporter with that number: each has a directory of its own."""
        return self if number == 0 else self._replace(path=self.path / f"exporter-{number + 1}")
