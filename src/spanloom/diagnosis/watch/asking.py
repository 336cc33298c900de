"""The findings on another process: its own answer or, if it cannot answer, what its stacks show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from spanloom.diagnosis.watch.client import SilentError, ask, is_stopped, watched_pid
from spanloom.diagnosis.watch.silent import explain_silence

__all__ = ["why_process"]

SILENCE_S: Final = 1.0
PATIENCE_S: Final = 2.5
"""Seconds that an answer may take before the stacks are asked for: most calls that hold the GIL are over by then."""


def why_process(
    pid: int, *, timeout_s: float = 10.0, on_silence: Callable[[int], object] = id
) -> list[dict[str, Any]]:
    """Return the findings on process `pid`, or on the watched one that it has started; see `Finding.to_json`.

    Args:
        pid: A process of this user that is watched.
        timeout_s: How long to wait at most.
        on_silence: Called with the id of the process asked, once, if that has been silent for a second.

    Raises:
        NotWatchedError: it cannot be asked, or has not answered in time.
    """
    pid = watched_pid(pid)

    def say() -> None:
        if is_stopped(pid):
            raise SilentError(
                f"process {pid} is stopped, by a signal or a debugger: ask again when it goes on (kill -CONT {pid})"
            )
        on_silence(pid)

    def explain() -> list[dict[str, Any]] | None:
        return [finding.to_json() for finding in explain_silence(pid)] or None

    meanwhile = [(SILENCE_S, say), (PATIENCE_S, explain)]
    return list(ask(pid, "why", timeout_s=timeout_s, meanwhile=meanwhile, within_s=timeout_s))
