"""Dates as people read them."""

from __future__ import annotations

from datetime import datetime

__all__ = ["when"]


def when(wall_ns: int) -> str:
    """Return a moment in local time, to the second: ``2026-11-22 09:14:03``.

    Args:
        wall_ns: Nanoseconds since the epoch.
    """
    try:
        return datetime.fromtimestamp(wall_ns // 1_000_000_000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):  # a damaged record, or a clock that was far off
        return "at an unknown time"
