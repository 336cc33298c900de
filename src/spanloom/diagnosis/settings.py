"""The interpreter's settings while there is a look: two are other ones, and as they were when the last look ends.

The garbage collector's second threshold is out of reach. A look at 10,000 tasks makes some 100,000 objects, and lets go
of all of them in the end. The collector cannot know that: it takes those that survive its second generation for
permanent ones, and when they are a quarter of what there is, it goes through everything, with the interpreter in its
hands: 60 ms of a program of that size, once or twice a look. So nothing is promoted to the oldest generation. Young
garbage, the program's own included, is collected as ever, and so is everything when the program asks for that. What
the look has made is gone when the threshold is as it was, and the program's own objects are promoted then. Python
3.14.0 to 3.14.4 collect the oldest generation in steps, and there the same number makes these small.

The switch interval is short. Whoever wants the interpreter from a thread that computes gets it after 5 ms, and a look
wants it back after each of its own pauses and each of the some thousand calls to the system by which its modules are
imported: beside a program that never rests, the first answer took up to 16 s. And the program, when it wants it from
the look, has it sooner as well.
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
    """A setting that is another one while somebody wants that.

    Args:
        read: Returns the setting.
        write: Sets it.
        wanted: What it is to be, given what it is.
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
        self._ours = self._read()  # which may be rounded

    def put_back(self) -> None:
        if (
            self._before is not None and self._read() == self._ours
        ):  # else the program has set it, and means that
            self._write(self._before)
        self._before = self._ours = None


class _Settings:
    """All of them: changed by the first who looks, put back by the last."""

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
        """Put all back in a child, to which nobody comes who looks."""
        if self._looking:
            for setting in self._settings:
                setting.put_back()
        self._lock = threading.Lock()  # the other may be held by a thread that is not there
        self._looking = 0


def _set_second_threshold(value: int) -> None:
    first, _, third = gc.get_threshold()
    gc.set_threshold(first, value, third)


def _set_switch_interval(seconds: float) -> None:
    sys.setswitchinterval(
        seconds + 1e-7
    )  # it is cut to microseconds, and 0.000_1 is a little less than 100 of them


_settings: Final = _Settings(
    _Setting(lambda: gc.get_threshold()[1], _set_second_threshold, lambda _: _FAR),
    _Setting(sys.getswitchinterval, _set_switch_interval, lambda now_s: min(now_s, _SHORT_S)),
)
os.register_at_fork(after_in_child=_settings.after_fork)


@contextlib.contextmanager
def looking() -> Iterator[None]:
    """Have the settings of a look inside of the ``with`` block; of any thread, also nested."""
    _settings.change()
    try:
        yield
    finally:
        _settings.put_back()
