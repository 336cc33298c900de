"""Tools for testing code that uses spanloom; spanloom's own tests use them, too."""

from spanloom.testing.capture import EventCapture, capture_events, capture_everywhere
from spanloom.testing.clock import VirtualClockLoop, virtual_clock
from spanloom.testing.in_flight import findings_report, in_flight_report
from spanloom.testing.leaks import LeakedTasksError, no_leaked_tasks

__all__ = [
    "EventCapture",
    "LeakedTasksError",
    "VirtualClockLoop",
    "capture_events",
    "capture_everywhere",
    "findings_report",
    "in_flight_report",
    "no_leaked_tasks",
    "virtual_clock",
]
