"""A look at what is in flight when pytest-timeout ends a test: a moment later everything has been cancelled.

Its two methods are joined in two ways. By ``signal``, its handler is called after ours, so there is no thread that
could disturb a test. By ``thread``, the process ends in the handler, so a thread of ours looks some time before.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

import pytest

from spanloom.testing import findings_report, in_flight_report

__all__ = ["cancel", "start"]

LEAD_SHARE: Final = 0.25
LEAD_S: Final = 3.0
"""How much earlier it looks: this share of the time, and at most so many seconds: a diagnosis takes one or two."""

_timers: pytest.StashKey[threading.Timer] = pytest.StashKey()


def start(item: pytest.Item, settings: Any) -> None:
    """Look at what is open when the time of `item` is over; to be called when pytest-timeout has set its timer.

    Args:
        item: The test.
        settings: pytest-timeout's: ``timeout`` in seconds, and ``method``.
    """
    if settings.method == "signal":
        _chain(item)
        return
    cancel(item)
    seconds = settings.timeout - min(LEAD_S, LEAD_SHARE * settings.timeout)
    timer = threading.Timer(seconds, _tell, (item, seconds))
    timer.name, timer.daemon = "pytest-spanloom", True
    item.stash[_timers] = timer
    timer.start()


def cancel(item: pytest.Item) -> None:
    """Do not look; the handler of signals is taken away by pytest-timeout."""
    timer = item.stash.get(_timers, None)
    if timer is not None:
        timer.cancel()
        del item.stash[_timers]


def _chain(item: pytest.Item) -> None:
    theirs = signal.getsignal(signal.SIGALRM)
    if not callable(theirs):
        return

    def both(number: int, frame: FrameType | None) -> Any:
        __tracebackhide__ = True
        for title, report in _reports():
            item.add_report_section("call", title, report)
        return theirs(number, frame)

    signal.signal(signal.SIGALRM, both)


def _tell(item: pytest.Item, seconds: float) -> None:
    for title, report in _reports():
        if item.stash.get(_timers, None) is threading.current_thread():  # or it has ended meanwhile
            # pytest-timeout shows what was captured, and ends the process.
            sys.stderr.write(f"{title} after {seconds:.2f} s\n{report}\n")


def _reports() -> Iterator[tuple[str, str]]:
    for title, make in (("spanloom: in flight", in_flight_report), ("spanloom: findings", findings_report)):
        report = make()
        if report:
            yield title, report
