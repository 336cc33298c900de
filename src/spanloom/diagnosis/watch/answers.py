"""What a watched process answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spanloom.diagnosis.watch.live import live
from spanloom.diagnosis.watch.verdict import findings_now

if TYPE_CHECKING:
    from spanloom.diagnosis.watch.watcher import Watcher

__all__ = ["answers_of"]


def answers_of(watcher: Watcher) -> dict[str, Callable[[Mapping[str, Any]], object]]:
    """Return the answers of the process of `watcher`, by the word that asks."""
    return {
        "why": lambda _: [finding.to_json() for finding in findings_now(watcher)],
        "live": lambda _: live(watcher),
    }
