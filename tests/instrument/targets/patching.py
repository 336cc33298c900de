"""What the tests of all targets need: a library patched for the length of a test, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spanloom.instrument import instrument, uninstrument
from spanloom.testing import EventCapture, capture_events


@contextmanager
def patched(*targets: str) -> Iterator[EventCapture]:
    """Patch libraries and keep the events of a block; undo it afterwards."""
    instrument(*targets)
    try:
        with capture_events() as captured:
            yield captured
    finally:
        uninstrument(*targets)
