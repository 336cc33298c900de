"""The payload keys that spanloom itself writes. Every other key of a payload is the user's.

They are part of the vocabulary: a reader may rely on them, and a new one is a visible change.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "DELAY_S",
    "ERROR",
    "FINDINGS",
    "HELD_S",
    "LEVEL",
    "LIMIT",
    "LIMITER",
    "LINKS",
    "LOCATION",
    "LOGS_LEFT_OUT",
    "MESSAGE",
    "PREVIOUS",
    "REASON",
    "RUNNER",
    "STALLED_S",
]

RUNNER: Final = "runner"
"""Batch: name of the function that runs it, ``run_jobs`` for one."""
LIMIT: Final = "limit"
"""Batch: most jobs alive at once; ``None`` for no bound. Limit change: the number of slots from now on."""
LIMITER: Final = "limiter"
"""Slot wait, limit change, cool-down: name of the limiter."""
PREVIOUS: Final = "previous"
"""Limit change: the number of slots until now."""
REASON: Final = "reason"
"""Limit change, cool-down: why, in a word or two."""
DELAY_S: Final = "delay_s"
"""Back-off, cool-down: seconds that it is to last. Deadline: seconds that were left at its start."""
ERROR: Final = "error"
"""Back-off, cool-down: type of the exception that made it necessary. Log: of the one that was logged."""
LEVEL: Final = "level"
"""Log: name of its level, ``WARNING`` for one."""
MESSAGE: Final = "message"
"""Log: what was logged, at most 500 characters of it."""
LOGS_LEFT_OUT: Final = "logs_left_out"
"""Job, or any event outside of jobs: how many of its log records are not shown, because there were too many."""
STALLED_S: Final = "stalled_s"
"""Stall: seconds since the batch last made progress; ``None`` if it is the program that stands still."""
FINDINGS: Final = "findings"
"""Stall: the findings, a list of dicts as `Finding.to_json` returns them, without the evidence. A ``refused`` one is
about a wait for a slot that could never have ended, which its limiter therefore made fail."""
HELD_S: Final = "held_s"
"""Loop lag: seconds for which the callback has held the loop."""
LOCATION: Final = "location"
"""Loop lag: ``file:line`` at which it was found most often."""
LINKS: Final = "links"
"""Any event: the links added by ``link``, a list of dicts. ``trace_id`` (32 hexadecimal digits) and ``event_id`` (16)
are always there; ``flags`` (int), ``state`` (text) and ``attributes`` (dict) if known."""
