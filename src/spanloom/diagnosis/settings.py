"""Two settings of the interpreter that differ while a look lasts. The last of several looks restores them.

*The garbage collector's second threshold is out of reach.* A look at 10,000 tasks makes some 100,000 objects, and frees
all of them at its end. The collector cannot know that: those that survive the second generation are promoted to the
oldest, and when they are a quarter of all objects, it traverses everything with the GIL held: 60 ms for a program of
that size, once or twice a look. With the threshold out of reach, nothing is promoted. The first generation is collected
as ever, the program's own garbage included, and ``gc.collect()`` works. The program's own objects are promoted after
the look. In Python 3.14.0 to 3.14.4, which collect the oldest generation in increments, the threshold makes these
small.

*The switch interval is short.* A thread that wants the GIL from one that computes gets it after that interval, 5 ms by
default. A look wants it after each of its pauses, and after each of the thousand or so system calls by which its
modules are imported: beside a program that never rests, the first answer took up to 16 s. The program gets the GIL back
from the look sooner, too.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

__all__ = ["looking"]

_FAR: Final = 1_000_000_000
_SHORT_S: Final = 0.000_5
_T = TypeVar("_T")


class _Setting(Generic[_T]):
    """A setting that is changed for a while.

    Args:
        read: Returns it.
        write: Sets it.
        wanted: Returns the temporary value for the present one.
    """

    def __init__(
        self, read: Callable[[], _T], write: Callable[[_T], object], wanted: Callable[[_T], _T]
    ) -> None:
        self._read = read
        self._write = write
        self._wanted = wanted
        self._before: _T | None = None
        self._ours: _T | None = None

    def change(self) -> None:
        self._before = self._read()
        self._write(self._wanted(self._before))
        self._ours = self._read()  # read back, as it may be rounded

    def put_back(self) -> None:
        if (
            self._before is not None and self._read() == self._ours
        ):  # else the program has set it meanwhile, and that stays
            self._write(self._before)
        self._before = self._ours = None


class _Settings:
    """All settings: changed by the first of several looks, restored by the last."""

    def __init__(self, *settings: _Setting[int] | _Setting[float]) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._looking = 0

    def change(self) -> None:
        with self._lock:
            self._looking += 1
            if self._looking == 1:
                for setting in self._settings:
                    setting.change()

    def put_back(self) -> None:
        with self._lock:
            self._looking -= 1
            if self._looking == 0:
                for setting in self._settings:
                    setting.put_back()

    def after_fork(self) -> None:
        """Restore all in a forked child, in which no look goes on."""
        if self._looking:
            for setting in self._settings:
                setting.put_back()
        self._lock = threading.Lock()  # the old one may be held by a thread that the child does not have
        self._looking = 0


def _set_second_threshold(value: int) -> None:
    first, _, third = gc.get_threshold()
    gc.set_threshold(first, value, third)


def _set_switch_interval(seconds: float) -> None:
    sys.setswitchinterval(
        seconds + 1e-7
    )  # it is cut to whole microseconds, and 0.000_1 is a little less than 100 of them


_settings: Final = _Settings(
    _Setting(lambda: gc.get_threshold()[1], _set_second_threshold, lambda _: _FAR),
    _Setting(sys.getswitchinterval, _set_switch_interval, lambda now_s: min(now_s, _SHORT_S)),
)
os.register_at_fork(after_in_child=_settings.after_fork)


@contextlib.contextmanager
def looking() -> Iterator[None]:
    """Apply the settings of a look inside of the ``with`` block; from any thread, also nested."""
    _settings.change()
    try:
        yield
    finally:
        _settings.put_back()
