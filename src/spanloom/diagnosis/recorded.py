"""What the record of a run says of why it was stuck or slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from spanloom.diagnosis.codes import CODES
from spanloom.events import keys
from spanloom.events.types import EventStatus, EventType

if TYPE_CHECKING:
    from spanloom.store.model import Run
    from spanloom.store.reader import StoreReader

__all__ = ["explain", "explain_stall", "was_given_up"]

_GIVEN_UP: Final = frozenset({EventStatus.CANCELLED.value, EventStatus.TIMEOUT.value})
_BY_SIGNAL: Final = range(129, 129 + 64)
"""An exit code that is that of a signal, as shells have it; below 0 it is, as `subprocess` has it."""
_TEXTS: Final = ("code", "message", "severity", "level")


def explain(store: StoreReader, run: Run) -> list[dict[str, Any]]:
    """Return the findings on a recorded run, as `Finding.to_json` has them: those of `explain_stall`.

    Of a run that is over, what made it slow comes after them.

    Args:
        store: The record.
        run: One of its runs.
    """
    findings = explain_stall(store, run)
    if run.state != "running":
        from spanloom.diagnosis.slow import explain as explain_slowness

        findings += [finding.to_json() for finding in explain_slowness(store, run)]
    return findings


def explain_stall(store: StoreReader, run: Run) -> list[dict[str, Any]]:
    """Return what a run was stuck at, as `Finding.to_json` has it, the cause before its symptoms.

    That is what its own process wrote down last: a batch that stood still then and went on has none, nor has a program
    that has come through. A batch that was cancelled, or a program that a signal has ended, Ctrl-C for one, was given
    up, and that is no way through.

    Args:
        store: The record.
        run: One of its runs.
    """
    last: dict[tuple[int | None, str], list[dict[str, Any]]] = {}
    refused: list[dict[str, Any]] = []
    for record in store.records(run, types=[EventType.STALL]):
        payload = record.payload or {}
        found = payload.get(keys.FINDINGS)
        checked = [one for one in found if _is_finding(one)] if isinstance(found, list) else []
        if any(one.get("refused") for one in checked):  # it did not hang, it failed of that
            refused += checked
        else:
            last[record.parent_id, record.name] = checked
    if last and run.state == "ended":
        given_up: set[int | None] = {
            record.event_id
            for record in store.records(run, types=[EventType.BATCH])
            if record.status in _GIVEN_UP
        }
        if was_given_up(run):
            given_up.add(None)  # the program, which is nobody's child
        last = {key: found for key, found in last.items() if key[0] in given_up}
    seen: set[tuple[object, object]] = set()
    findings: list[dict[str, Any]] = []
    for group in (refused, *reversed(last.values())):
        for finding in group:
            key = finding["code"], finding.get("location")
            if key not in seen:
                seen.add(key)
                findings.append({"evidence": [], **finding})
    return sorted(findings, key=_rank)


def was_given_up(run: Run) -> bool:
    """Return whether a signal, Ctrl-C for one, has ended a run."""
    return run.exit_code is not None and (run.exit_code < 0 or run.exit_code in _BY_SIGNAL)


def _is_finding(one: object) -> bool:
    return isinstance(one, dict) and all(isinstance(one.get(key), str) for key in _TEXTS)


def _rank(finding: dict[str, Any]) -> int:
    code = CODES.get(finding["code"])
    return 99 if code is None else code.rank
