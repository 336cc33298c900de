"""The questions that a watched process answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spanloom.diagnosis.watch.watcher import Watcher

__all__ = ["answers_of"]


def answers_of(watcher: Watcher) -> dict[str, Callable[[Mapping[str, Any]], object]]:
    """Return the functions that answer for the process of `watcher`, by the word that asks."""
    return {
        "why": lambda asked: [finding.to_json() for finding in watcher.findings(within_s=_within_s(asked))],
        "live": lambda _: _live(watcher),
    }


def _within_s(asked: Mapping[str, Any]) -> float:
    """Return for how many seconds the client waits for an answer; infinite if it does not say."""
    within_s = asked.get("within_s")
    return float(within_s) if isinstance(within_s, int | float) else math.inf


def _live(watcher: Watcher) -> dict[str, Any]:
    from spanloom.diagnosis.watch.live import live  # late, as it loads most of the diagnosis

    return live(watcher)
