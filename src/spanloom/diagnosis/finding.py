"""The result of the diagnosis: one `Finding` for each fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Level", "Severity"]

Severity = Literal["error", "warning", "info"]
Level = Literal["PROVEN", "LIKELY", "UNKNOWN"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: what it is, in words that the program's author would use, and how sure that is.

    Attributes:
        code: Which fault: one of `spanloom.diagnosis.codes.CODES`, or of those that `spanloom.diagnosis.slow.explain`
            has for a run that is over.
        message: One sentence, or a few: who, waits for what, who holds it, where, and what to change.
        severity: ``"error"``: something never ends or is lost; ``"warning"``: it is slow or wasteful;
            ``"info"``: nothing is wrong.
        level: ``"PROVEN"``: it cannot be otherwise; ``"LIKELY"``: all evidence says so; ``"UNKNOWN"``: nothing moves,
        and
            why cannot be seen.
        jobs: Names of the jobs, tasks or threads concerned, the most concerned first.
        resource: What is waited for, by its name in the program; ``None`` if it is no resource.
        location: ``file:line`` of the await, or of the statement to blame; ``None`` if unknown.
        since_s: For how many seconds it has been so, at least; ``None`` if there was no earlier look. Of a run that is
            over: how many seconds it cost.
        evidence: What the verdict rests on, line by line: await chains, holders, waiters.
    """

    code: str
    message: str
    severity: Severity
    level: Level
    jobs: tuple[str, ...] = ()
    resource: str | None = None
    location: str | None = None
    since_s: float | None = None
    evidence: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the finding as a dictionary for `json.dumps`, with ``jobs`` and ``evidence`` as lists."""
        return {
            "code": self.code,
            "message": self.message,
            "severity": self.severity,
            "level": self.level,
            "jobs": list(self.jobs),
            "resource": self.resource,
            "location": self.location,
            "since_s": self.since_s,
            "evidence": list(self.evidence),
        }
