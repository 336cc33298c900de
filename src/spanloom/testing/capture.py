"""Events as a list, for tests that say what should have happened."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from spanloom.callbacks.ambient import use_callback_manager
from spanloom.callbacks.everywhere import EVERYWHERE
from spanloom.callbacks.manager import CallbackManager
from spanloom.events import ids
from spanloom.events.event import Event
from spanloom.events.handler import Handler
from spanloom.testing.nested import nested

__all__ = ["EventCapture", "capture_events", "capture_everywhere"]

CLOSE_S: Final = 1.0
"""Seconds that a capture takes at most to be closed; it holds nothing back."""
_ANY: Final = "..."


class EventCapture(Handler):
    """A handler that keeps every event. Made by `capture_events`, or add it to a manager yourself.

    Attributes:
        started: Events with a duration, in order of their start.
        events: Ended events and point events, in order of their end.
    """

    def __init__(self) -> None:
        self.started: list[Event] = []
        self.events: list[Event] = []

    def on_event_start(self, event: Event) -> None:
        """Keep an event that has started."""
        self.started.append(event)

    def on_event_end(self, event: Event) -> None:
        """Keep an event that has ended."""
        self.events.append(event)

    def on_event(self, event: Event) -> None:
        """Keep a point event."""
        self.events.append(event)

    def __repr__(self) -> str:
        return f"<EventCapture {len(self.events)} ended, {len(self.open)} open>"

    @property
    def open(self) -> list[Event]:
        """Events that have started and not ended, in order of their start."""
        return [event for event in self.started if event.end_ns is None]

    def tree(self) -> str:
        """Return all events as text, a line each, children indented under their parent.

        A line tells the type, the name, where they apply the position of a job in its batch
        (``#0``) and the number of an attempt (``1.``), the status (``open`` before the end), and the
        class of the error. It holds no id and no time, so a test can compare it as a whole.
        Siblings stand in order of their start.
        """
        known = {id(event): event for event in (*self.started, *self.events)}
        events = sorted(known.values(), key=lambda event: event.start_ns)
        return "\n".join("  " * depth + _line(event) for depth, event in nested(events))

    def assert_tree(self, expected: str) -> None:
        """Make sure that `tree` is what a test expects.

        Args:
            expected: The text, indented as a whole as you like; a line ``...`` stands for any lines, or none.

        Raises:
            AssertionError: it is not; the message is the difference.
        """
        __tracebackhide__ = True  # pytest shows the line of the test
        wanted = textwrap.dedent(expected).strip("\n").rstrip().splitlines()
        found = self.tree().splitlines()
        if not _fits(wanted, found):
            lines = difflib.unified_diff(wanted, found, "expected", "found", lineterm="", n=100)
            raise AssertionError("the events are not those expected:\n" + "\n".join(lines))


def _fits(wanted: list[str], found: list[str]) -> bool:
    """Tell whether lines are those wanted, where ``...`` stands for any lines; goes back to the last ``...`` only."""
    at = line = 0
    after_dots: int | None = None
    skipped_to = 0
    while line < len(found):
        if at < len(wanted) and wanted[at].strip() == _ANY:
            at += 1
            after_dots, skipped_to = at, line
        elif at < len(wanted) and wanted[at] == found[line]:
            at += 1
            line += 1
        elif after_dots is not None:  # one line more is among those that the dots stand for
            skipped_to += 1
            at, line = after_dots, skipped_to
        else:
            return False
    return all(rest.strip() == _ANY for rest in wanted[at:])


def _line(event: Event) -> str:
    words = [str(event.type), event.name]
    if event.type == "job":
        words.append(f"#{event.job_index}")
    elif event.attempt is not None:
        words.append(f"{event.attempt}.")
    words.append("point" if event.is_point else str(event.status or "open"))
    if event.error is not None:
        words.append(event.error.type)
    return " ".join(words)


@contextmanager
def capture_events(manager: CallbackManager | None = None) -> Iterator[EventCapture]:
    r"""Keep the events of a block of code.

    ::

        with capture_events() as captured:
            await run_jobs([fetch()])
        assert captured.tree() == "batch fetch ok\n  job fetch #0 ok"

    Args:
        manager: Listen to this manager; by default a new one, which is the ambient manager inside
            the block, so that nothing else hears the block's events.

    Yields:
        The `EventCapture`, which keeps its events after the block.
    """
    capture = EventCapture()
    if manager is None:
        with use_callback_manager(CallbackManager([capture])):
            yield capture
        return
    manager.add_handler(capture)
    try:
        yield capture
    finally:
        manager.remove_handler(capture)


@contextmanager
def capture_everywhere(seed: int | None = None) -> Iterator[EventCapture]:
    """Keep the events of a block of code, of all managers there are, in all threads and tasks.

    Unlike `capture_events` it leaves the ambient manager alone, so it can be entered where the code runs in another
    context. Events of whatever else runs in the process are kept, too.

    Args:
        seed: Makes the ids of events and traces the same in every run of the block, if its events come in the same
            order; ``None`` leaves them to chance.

    Yields:
        The `EventCapture`, which keeps its events after the block.
    """
    capture = EventCapture()
    guard = EVERYWHERE.add(capture)
    if seed is not None:
        ids.reseed(seed)
    try:
        yield capture
    finally:
        if seed is not None:
            ids.reseed()
        EVERYWHERE.remove(guard)
        guard.close(CLOSE_S, guard.ask())
