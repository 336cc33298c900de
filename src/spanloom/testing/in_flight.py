"""What is open now, as text: for a test that hangs."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Final

from spanloom.callbacks.manager import living_managers
from spanloom.events.event import Event
from spanloom.testing.nested import nested

__all__ = ["findings_report", "in_flight_report"]

SHOWN: Final = 50
"""Events that a report shows."""

_logger = logging.getLogger("spanloom.testing")


def in_flight_report() -> str:
    """Return the open events of all managers, oldest first, with their ages.

    Safe from any thread, so also while the event loop is blocked.

    Returns:
        A line for each event, indented under its parent; empty if nothing is open.
    """
    events = sorted(
        (event for manager in living_managers() for event in manager.in_flight()),
        key=lambda event: event.start_ns,
    )
    return "\n".join(_lines(events))


def findings_report() -> str:
    """Return what the diagnosis finds in this process. May take a second; safe from any thread.

    Returns:
        A line for each finding, with its level; empty if there is none, or if the diagnosis itself fails, which is
        logged.
    """
    try:
        from spanloom.diagnosis.why import why  # takes longer to load than most tests run

        found = why()
    except Exception:
        _logger.exception("the diagnosis failed")  # not raised: it would hide why the test hangs
        return ""
    return "\n".join(f"{finding.level}: {finding.message}" for finding in found)


def _lines(events: list[Event]) -> Iterable[str]:
    for depth, event in islice(nested(events), SHOWN):
        number = f" #{event.job_index}" if event.type == "job" else ""
        yield f"{'  ' * depth}{event.type} {event.name}{number}, open for {event.age_ns / 1e9:.2f} s"
    if len(events) > SHOWN:
        yield f"and {len(events) - SHOWN} more"
