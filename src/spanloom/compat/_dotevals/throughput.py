"""How many calls end per second."""

from __future__ import annotations

from collections import deque

__all__ = ["ThroughputTracker"]


class ThroughputTracker:
    """Computes a throughput from the times at which calls have ended.

    Args:
        window_size: Ends that are remembered.

    Attributes:
        window_size: As given.
        completion_times: The ends, oldest first, as they were recorded.
        total_completed: How many were recorded in all.
    """

    def __init__(self, window_size: int = 20) -> None:
        self.window_size = window_size
        self.completion_times: deque[float] = deque(maxlen=window_size)
        self.total_completed: int = 0

    def record_completion(self, timestamp: float) -> None:
        """Record an end.

        Args:
            timestamp: In seconds, always on the same clock.
        """
        self.completion_times.append(timestamp)
        self.total_completed += 1

    def get_throughput(self) -> float | None:
        """Return the ends per second over the window; ``None`` for fewer than two, or two at the same time."""
        return _per_second(list(self.completion_times))

    def get_recent_throughput(self, last_n: int = 5) -> float | None:
        """Return the ends per second over the last `last_n` of them; ``None`` as for `get_throughput`.

        Args:
            last_n: How many, at least 2.
        """
        return _per_second(list(self.completion_times)[-last_n:])


def _per_second(times: list[float]) -> float | None:
    span = times[-1] - times[0] if len(times) >= 2 else 0.0
    return (len(times) - 1) / span if span > 0 else None
