"""All rules, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.history.rules.cancels import swallowed_cancels
from spanloom.diagnosis.history.rules.hogs import slot_hogs
from spanloom.diagnosis.history.rules.leaks import leaks
from spanloom.diagnosis.history.rules.lost import lost_tasks
from spanloom.diagnosis.history.rules.storms import storms
from spanloom.diagnosis.history.rules.stragglers import stragglers
from spanloom.diagnosis.history.sight import Sight, see

if TYPE_CHECKING:
    from spanloom.diagnosis.history.memory import Memory

__all__ = ["find"]

Rule = Callable[["Memory", list[Sight]], Iterator[Finding]]

RULES: Final[tuple[Rule, ...]] = (swallowed_cancels, storms, slot_hogs, lost_tasks, leaks, stragglers)

_logger = logging.getLogger("spanloom.diagnosis")


def find(memory: Memory) -> list[Finding]:
    """Return what the rules find, the cause before its symptoms."""
    sights = see([ref for ref, member in memory.census.members.items() if not member.ended])
    found: list[Finding] = []
    for rule in RULES:
        if rule is stragglers and found:
            break  # something explains it better
        try:
            found += rule(memory, sights)
        except Exception:  # one rule that fails must not cost what the others have found
            _logger.debug("a rule of the diagnosis has failed", exc_info=True)
    return found
