"""What a running process says of itself, below what its record says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from spanloom.handlers._text import format_ns, printable
from spanloom.viewer._layout import Line

__all__ = ["ask_live", "live_lines"]

TIMEOUT_S: Final = 3.0


def ask_live(pid: int) -> dict[str, Any] | None:
    """Return what process `pid` is at; ``None`` if it is not watched, or does not answer at once."""
    from spanloom.diagnosis.watch.client import ask
    from spanloom.exceptions import NotWatchedError

    try:
        answer: dict[str, Any] = ask(pid, "live", timeout_s=TIMEOUT_S)
    except NotWatchedError:
        return None
    return answer


def live_lines(said: dict[str, Any] | None) -> Iterator[Line]:
    """Yield the lines that show what `ask_live` has returned."""
    if said is None:
        return
    yield Line("")
    yield Line(f"tasks: {said['tasks']:,}, {said['waiting']:,} of them wait")
    for loop in said["loops"]:
        if loop["held_s"] is not None:
            by, at = printable(str(loop["held_by"])), printable(str(loop["held_at"]))
            yield Line(
                f"loop of {printable(loop['thread'])}: HELD for {_time(loop['held_s'])} by {by} at {at}",
                "bad",
            )
        else:
            yield Line(
                f"loop of {printable(loop['thread'])}: turns; longest hold of late {_time(loop['longest_hold_s'])}"
            )
    if said["resources"]:
        yield Line("")
        yield Line("waited for", "dim")
    for one in said["resources"]:
        used = "" if one["size"] is None else f" {one['used']}/{one['size']}"
        held = f"held by {_names(one['holders'])}; " if one["holders"] else ""
        yield Line(
            f"{one['kind']} {printable(one['name'])}{used}: {held}{one['waiting']:,} wait: {_names(one['waiters'])}"
        )


def _names(names: list[str]) -> str:
    return printable(", ".join(names))


def _time(seconds: float) -> str:
    return format_ns(round(seconds * 1e9))
