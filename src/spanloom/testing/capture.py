"""Events as a list, for tests that assert what happened."""

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
"""Most seconds that closing a capture may take."""
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

        A line holds the type, the name, a job's position in its batch (``#0``), an attempt's number (``1.``), the
        status (``open`` before the end, ``point`` for a point event) and the class of the error. It holds no id and
        no time, so a test can compare the whole text. Siblings are in order of their start.
        """
        known = {id(event): event for event in (*self.started, *self.events)}
        events = sorted(known.values(), key=lambda event: event.start_ns)
        return "\n".join("  " * depth + _line(event) for depth, event in nested(events))

    def assert_tree(self, expected: str) -> None:
        """Assert that `tree` is as expected.

        Args:
            expected: The text; common indentation is removed. A line ``...`` stands for any lines, or none.

        Raises:
            AssertionError: it is not; the message is a diff.
        """
        __tracebackhide__ = True  # pytest shows the line of the test
        wanted = textwrap.dedent(expected).strip("\n").rstrip().splitlines()
        found = self.tree().splitlines()
        if not _fits(wanted, found):
            lines = difflib.unified_diff(wanted, found, "expected", "found", lineterm="", n=100)
            raise AssertionError("the events are not those expected:\n" + "\n".join(lines))


def _fits(wanted: list[str], found: list[str]) -> bool:
    """Return whether `found` matches `wanted`, where ``...`` is any lines; backtracks to the last ``...`` only."""
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
        elif after_dots is not None:  # let the dots stand for one more line, and try again
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
        manager: Listen to this manager. By default a new one, which is the ambient manager inside the block, so no
            other handler gets the block's events.

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
    """Keep the events of a block of code, from all managers, threads and tasks of the process.

    Unlike `capture_events` it leaves the ambient manager alone, so it also works where the code runs in another
    context. Events of other code that runs meanwhile are kept, too.

    Args:
        seed: Makes the ids of events and traces repeatable, if the events come in the same order; ``None`` for
            random ids.

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
