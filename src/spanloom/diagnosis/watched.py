"""Whom to ask where the process is watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spanloom.diagnosis.finding import Finding

__all__ = ["WATCHED"]

WATCHED: Final[list[Callable[[], list[Finding]]]] = []
"""What returns the findings of a watching thread, which knows what only time tells, too; empty where there is none."""
