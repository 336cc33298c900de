"""The findings on a process that does not answer, from the stacks that its signal handler has written."""

from __future__ import annotations

import os
import time
from typing import Final

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.watch.frames import is_own_file, short
from spanloom.diagnosis.watch.reading import Line, Stack, stacks_of

__all__ = ["explain_silence"]

SILENT_S: Final = 1.0
"""Seconds for which no Python code must have run."""
LOOKS: Final = 3
BETWEEN_S: Final = 0.3
"""Seconds between two looks, in which a stack must not have moved."""
_WATCHER: Final = os.path.join("diagnosis", "watch", "watcher.py")  # noqa: PTH118 -- text is compared
_RESTING: Final = frozenset({"select", "poll", "_run_once", "run_forever"})


def explain_silence(pid: int) -> list[Finding]:
    """Return why process `pid` does not answer; empty if that is unknown, or if it is only slow."""
    silent_s = 0.0
    stacks: list[Stack] = []
    still: set[tuple[Line, ...]] | None = None
    for number in range(LOOKS):
        if number:
            time.sleep(BETWEEN_S)
        seen = stacks_of(pid, SILENT_S)
        if seen is None:
            return []
        silent_s, stacks = seen
        calls = {stack.calls for stack in stacks}
        still = calls if still is None else still & calls
        if any(_is_ours(one) and (_answers(one) or one not in still) for one in calls):
            return []
    stacks = [stack for stack in stacks if stack.calls in (still or ())]
    found = [finding for stack in stacks if (finding := _of_loop(stack, silent_s)) is not None]
    return found or [finding for stack in stacks if (finding := _of_thread(stack, silent_s)) is not None][:1]


def _is_ours(calls: tuple[Line, ...]) -> bool:
    """Tell whether these are the calls of the watching thread."""
    return any(call.function == "_run" and call.file.endswith(_WATCHER) for call in calls)


def _answers(calls: tuple[Line, ...]) -> bool:
    return any(call.function == "findings" and call.file.endswith(_WATCHER) for call in calls)


def _of_loop(stack: Stack, silent_s: float) -> Finding | None:
    step = _step(stack.calls)
    if step is None:
        return None
    own = [call for call in step if is_own_file(call.file)] or list(step)
    return _finding(f"{own[-1].function}()", own, silent_s, step)


def _step(calls: tuple[Line, ...]) -> tuple[Line, ...] | None:
    """Return the calls of the callback that a loop is running, innermost first; ``None`` if it runs none."""
    for index, call in enumerate(calls):
        if call.function == "_run_once" and call.file.endswith("base_events.py"):
            step = tuple(one for one in calls[:index] if one.function != "_run" or "asyncio" not in one.file)
            return None if not step or step[0].function in _RESTING else step
    return None


def _of_thread(stack: Stack, silent_s: float) -> Finding | None:
    """Return the finding on a thread without a loop, in which code of the program's own may hold the GIL."""
    own = [call for call in stack.calls if is_own_file(call.file)]
    if not own or not stack.calls or stack.calls[0] != own[0]:
        return None
    return _finding(f"{own[-1].function}() in another thread", own, silent_s, stack.calls)


def _finding(who: str, own: list[Line], silent_s: float, calls: tuple[Line, ...]) -> Finding:
    place = own[0]
    message = (
        f"{who} has kept the event loop's thread for {silent_s:.1f} s, in {place.function}() at "
        f"{short(place.file)}:{place.line}, by a call in C that holds the GIL, so that no thread of this process runs. "
        f"Call it in a process of its own (ProcessPoolExecutor), or give it less to do at once."
    )
    return Finding(
        code="LOOP_BLOCKED",
        message=message,
        severity="error",
        level="LIKELY",
        jobs=(own[-1].function,),
        resource=None,
        location=f"{place.file}:{place.line}",
        since_s=silent_s,
        evidence=tuple(f"{call.file}:{call.line} in {call.function}" for call in calls[:30]),
    )
