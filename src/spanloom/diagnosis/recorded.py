"""Why a recorded run was stuck or slow, from its record."""

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
"""Exit codes of a death by signal as shells have them, 128 + number; `subprocess` has the negative number."""
_TEXTS: Final = ("code", "message", "severity", "level")


def explain(store: StoreReader, run: Run) -> list[dict[str, Any]]:
    """Return the findings on a recorded run, in the form of `Finding.to_json`.

    First those of `explain_stall`; then, if the run is over, what made it slow (`spanloom.diagnosis.slow`).

    Args:
        store: The record.
        run: One of its runs.

    Raises:
        StoreError: the record cannot be read.
    """
    findings = explain_stall(store, run)
    if run.state != "running":
        from spanloom.diagnosis.slow import explain as explain_slowness

        findings += [finding.to_json() for finding in explain_slowness(store, run)]
    return findings


def explain_stall(store: StoreReader, run: Run) -> list[dict[str, Any]]:
    """Return what a run was stuck at, in the form of `Finding.to_json`, the cause before its symptoms.

    Each batch, and the program as a whole, has the findings that its process recorded last; none if it went on after a
    stall. Of a run that ended, only the findings count of what was given up: a batch that was cancelled or timed out,
    or the program if a signal ended it. Calls that were refused as they would have hung always count.

    Args:
        store: The record.
        run: One of its runs.

    Raises:
        StoreError: the record cannot be read.
    """
    last: dict[tuple[int | None, str], list[dict[str, Any]]] = {}
    refused: list[dict[str, Any]] = []
    for record in store.records(run, types=[EventType.STALL]):
        payload = record.payload or {}
        found = payload.get(keys.FINDINGS)
        checked = [one for one in found if _is_finding(one)] if isinstance(found, list) else []
        if any(one.get("refused") for one in checked):  # it did not hang: the call was refused
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
            given_up.add(None)  # the program as a whole, whose stalls have no parent
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
    """Return whether a run was ended by a signal, as by Ctrl-C."""
    return run.exit_code is not None and (run.exit_code < 0 or run.exit_code in _BY_SIGNAL)


def _is_finding(one: object) -> bool:
    return isinstance(one, dict) and all(isinstance(one.get(key), str) for key in _TEXTS)


def _rank(finding: dict[str, Any]) -> int:
    code = CODES.get(finding["code"])
    return 99 if code is None else code.rank
