"""The codes of findings: meaning, severity, and rank among causes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from spanloom.diagnosis.finding import Finding, Severity

__all__ = ["CODES", "Code", "in_order"]


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of sickness.

    Attributes:
        name: The code.
        severity: How bad it is.
        rank: Where it stands among the causes: of two findings the one with the lower rank is told first.
        meaning: One sentence.
    """

    name: str
    severity: Severity
    rank: int
    meaning: str


def _code(name: str, severity: Severity, rank: int, meaning: str) -> tuple[str, Code]:
    return name, Code(name, severity, rank, meaning)


# In order of causes. First what stops the loop's thread, as that explains every wait. Then a ring of waits, which
# explains those who queue behind it, and a collected task, which explains those who wait for what it would have given.
# Then a resource that nobody is left to give; then what is lost or leaks while the program goes on; last what is only
# slow. Rules drop what another finding of theirs explains, so the rank decides only between independent findings.
CODES: Final = MappingProxyType(
    dict(
        [
            _code(
                "SYNC_WAIT_ON_OWN_LOOP",
                "error",
                10,
                "the loop's thread waits for what only this loop can run",
            ),
            _code(
                "THREAD_LOCK_ACROSS_AWAIT",
                "error",
                11,
                "a suspended task holds a thread lock that blocks the loop",
            ),
            _code(
                "PIPE_DEADLOCK", "error", 12, "the program and a child process wait for each other at a pipe"
            ),
            _code("LOOP_BLOCKED", "error", 13, "a synchronous call keeps the event loop's thread"),
            _code(
                "THREAD_POOL_EXHAUSTED",
                "error",
                20,
                "all threads of a pool wait for what is queued behind them",
            ),
            _code("SELF_RELOCK", "error", 21, "a task waits for a lock that it holds itself"),
            _code("LOCK_CYCLE", "error", 22, "tasks wait in a ring, at least one of them for a lock"),
            _code(
                "NESTED_LIMITER",
                "error",
                23,
                "holders of all slots of a limiter wait for a slot of the same limiter",
            ),
            _code("AWAIT_CYCLE", "error", 24, "tasks await each other in a ring"),
            _code("TASK_COLLECTED", "error", 25, "a pending task was garbage-collected"),
            _code("LOCK_ABANDONED", "error", 30, "a lock was taken by a task that has ended"),
            _code("PERMIT_LEAK", "error", 31, "ended tasks never gave their permits back"),
            _code(
                "QUEUE_NO_CONSUMER",
                "error",
                32,
                "put waits for room, and nobody is left who takes something out",
            ),
            _code("QUEUE_NO_PRODUCER", "error", 33, "get waits, and nobody is left who puts something in"),
            _code("JOIN_WITHOUT_TASK_DONE", "error", 34, "join waits although nothing is queued or in work"),
            _code("EVENT_NEVER_SET", "error", 35, "tasks wait for an event that nobody is left to set"),
            _code("LOST_NOTIFY", "error", 36, "a task waits for a notify that has passed or never comes"),
            _code("BARRIER_SHORT", "error", 37, "fewer tasks can come to a barrier than it needs"),
            _code("ORPHAN_FUTURE", "error", 38, "a task awaits a future that nothing can resolve any more"),
            _code("CANCEL_SWALLOWED", "error", 40, "a task was cancelled, caught that, and goes on"),
            _code(
                "BUSY_SPIN", "error", 41, "a task is ready at every turn of the loop and gets nothing done"
            ),
            _code(
                "RETRY_STORM", "error", 42, "calls fail and are tried again at a high rate without success"
            ),
            _code(
                "SLOT_HOG", "warning", 43, "jobs that sleep before their next try hold all slots of a limiter"
            ),
            _code(
                "LOST_EXCEPTION", "error", 51, "a task failed and its exception can no longer reach anybody"
            ),
            _code("TASK_LEAK", "error", 52, "tasks of one kind are made steadily and do not end"),
            _code(
                "STRAGGLER",
                "warning",
                60,
                "one or a few jobs of a batch run many times longer than the others",
            ),
            _code("PIPELINE_BOTTLENECK", "info", 70, "nothing is wrong but that all wait for one slow stage"),
            _code("UNKNOWN", "warning", 90, "nothing moves, and why cannot be seen"),
        ]
    )
)

_SEVERITIES: Final = {"error": 0, "warning": 1, "info": 2}


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with the cause before its symptoms: by severity, then by the rank of their codes.

    Args:
        findings: In any order; those of equal standing stay as they are. An unknown code comes last of its
            severity.
    """

    def standing(finding: Finding) -> tuple[int, int]:
        code = CODES.get(finding.code)
        return _SEVERITIES[finding.severity], 99 if code is None else code.rank

    return sorted(findings, key=standing)
