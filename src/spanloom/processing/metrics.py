"""An observer that counts, for dashboards."""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final

from spanloom._numbers import check_number
from spanloom.processing.bounds import check_whole
from spanloom.processing.observer import BaseObserver, ProcessingEvent

__all__ = ["MetricsObserver"]

PREFIX: Final = "async_batch_llm"
"""What Prometheus calls the metrics: existing dashboards ask for these names."""
_TOLD: Final = (
    ("items_processed", "counter", "Total items processed"),
    ("items_succeeded", "counter", "Total items succeeded"),
    ("items_failed", "counter", "Total items failed"),
    ("rate_limits_hit", "counter", "Total rate limits encountered"),
    ("avg_processing_time", "gauge", "Mean seconds of a successful item"),
    ("success_rate", "gauge", "Share of items that succeeded, 0 to 1"),
    ("total_cooldown_time", "gauge", "Seconds of all pauses after rate limits"),
    ("processing_times_count", "gauge", "Successful items whose time was measured"),
)
"""Name, type and help text of what is exported."""


class MetricsObserver(BaseObserver):
    """Counts the events of a processor, or of several, one after the other or at once.

    Args:
        max_processing_samples: How many of the latest processing times are kept, at least 1.

    Raises:
        ValueError: `max_processing_samples` is below 1.
        TypeError: it is no whole number.
    """

    def __init__(self, *, max_processing_samples: int = 100) -> None:
        samples = check_number(max_processing_samples, "max_processing_samples")
        if samples <= 0:
            raise ValueError(f"max_processing_samples must be positive (got {max_processing_samples})")
        self._max_samples = check_whole(max_processing_samples, "max_processing_samples")
        self.reset()

    def reset(self) -> None:
        """Set all numbers to zero."""
        self._succeeded = self._failed = self._rate_limits = 0
        self._cooldown_s = self._seconds = 0.0
        self._timed = 0
        self._times: deque[float] = deque(maxlen=self._max_samples)
        self._errors: dict[str, int] = {}

    async def on_event(self, event: ProcessingEvent, data: dict[str, Any]) -> None:
        """Count an event."""
        if event is ProcessingEvent.ITEM_COMPLETED:
            self._succeeded += 1
            if "duration" in data:
                seconds = float(data["duration"])
                self._seconds += seconds
                self._timed += 1
                self._times.append(seconds)
        elif event is ProcessingEvent.ITEM_FAILED:
            self._failed += 1
            if "error_type" in data:
                kind = data["error_type"]
                self._errors[kind] = self._errors.get(kind, 0) + 1
        elif event is ProcessingEvent.RATE_LIMIT_HIT:
            self._rate_limits += 1
        elif event is ProcessingEvent.COOLDOWN_ENDED:
            self._cooldown_s += data.get("duration", 0.0)

    @property
    def metrics(self) -> dict[str, Any]:
        """All numbers, by the names that the exports use."""
        processed = self._succeeded + self._failed
        return {
            "items_processed": processed,
            "items_succeeded": self._succeeded,
            "items_failed": self._failed,
            "rate_limits_hit": self._rate_limits,
            "total_cooldown_time": self._cooldown_s,
            "error_counts": dict(self._errors),
            "processing_times": list(self._times),
            "processing_times_count": self._timed,
            "processing_times_sum": self._seconds,
            "avg_processing_time": self._seconds / self._timed if self._timed else 0,
            "success_rate": self._succeeded / processed if processed else 0,
        }

    async def get_metrics(self) -> dict[str, Any]:
        """Return all numbers, the latest processing times included."""
        return self.metrics

    async def export_dict(self) -> dict[str, Any]:
        """Return what `get_metrics` returns."""
        return self.metrics

    async def export_json(self) -> str:
        """Return the numbers as JSON, without the single processing times."""
        return json.dumps(
            {key: value for key, value in self.metrics.items() if key != "processing_times"}, indent=2
        )

    async def export_prometheus(self) -> str:
        """Return the numbers in the text format of Prometheus, version 0.0.4."""
        metrics = self.metrics
        lines: list[str] = []
        for name, kind, told in _TOLD:
            full = f"{PREFIX}_{name}"
            lines += [f"# HELP {full} {told}", f"# TYPE {full} {kind}", f"{full} {metrics[name]}", ""]
        if self._errors:
            full = f"{PREFIX}_errors_total"
            lines += [f"# HELP {full} Failed items by type of error", f"# TYPE {full} counter"]
            lines += [f'{full}{{error_type="{_label(kind)}"}} {n}' for kind, n in self._errors.items()]
            lines.append("")
        return "\n".join(lines)


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
