"""Tools for testing code that uses spanloom; spanloom's own tests use them, too."""

from spanloom.testing.capture import EventCapture, capture_events
from spanloom.testing.clock import VirtualClockLoop, virtual_clock

__all__ = ["EventCapture", "VirtualClockLoop", "capture_events", "virtual_clock"]
