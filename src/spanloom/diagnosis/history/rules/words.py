"""Numbers, names and places in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from spanloom.diagnosis.codes import CODES
from spanloom.diagnosis.finding import Finding, Level

__all__ = ["finding", "listed", "near", "seconds", "times"]


def finding(
    code: str,
    level: Level,
    message: str,
    *,
    jobs: Sequence[str] = (),
    resource: str | None = None,
    location: str | None = None,
    since_s: float | None = None,
    evidence: Sequence[str] = (),
) -> Finding:
    """Return a finding with the severity of its code; see `Finding`."""
    return Finding(
        code,
        message,
        CODES[code].severity,
        level,
        tuple(jobs),
        resource,
        location,
        None if since_s is None else round(since_s, 3),
        tuple(evidence),
    )


def seconds(value: float) -> str:
    """Return a time with two digits that matter: ``12 ms``, ``3.4 s``, ``15 min``."""
    if value < 0.001:
        return f"{value * 1e6:.0f} us"
    if value < 1:
        return f"{value * 1e3:.0f} ms"
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7_200 else f"{value / 3600:.0f} h"


def times(rate: float) -> str:
    """Return a rate a second: ``0.4``, ``12``, ``4,300``."""
    if rate < 1:
        return f"{rate:.1f}"
    digits = 1 - len(str(int(rate)))
    return f"{int(round(rate, min(0, digits + 1))):,}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return the first few names as a list in a sentence."""
    quoted = [f"`{name}`" for name in names[:most]]
    if len(names) > most:
        return ", ".join(quoted) + f" and {len(names) - most} more"
    return quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f" and {quoted[-1]}"


def near(location: str | None) -> str:
    """Return ``file:line`` without the folder."""
    if location is None:
        return "a place that is not known"
    file, _, line = location.rpartition(":")
    return f"{PurePath(file).name}:{line}"
