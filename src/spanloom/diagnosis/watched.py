"""Where the watching thread, if there is one, offers its findings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanloom.diagnosis.finding import Finding

__all__ = ["WATCHED"]

WATCHED: Final[list[Callable[[], list[Finding]]]] = []
"""Returns the findings of the watching thread, which also knows what only time shows; empty if there is none."""
