"""Events as a forest, for printing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from spanloom.events.event import Event

__all__ = ["nested"]


def nested(events: Iterable[Event]) -> Iterator[tuple[int, Event]]:
    """Yield the depth, from 0, and the event: each event before its descendants, siblings in the order given.

    An event whose parent is not among `events` is a root.
    """
    events = list(events)
    known = {event.event_id for event in events}
    children: dict[int | None, list[Event]] = {}
    for event in events:
        children.setdefault(event.parent_id if event.parent_id in known else None, []).append(event)
    pending = [(0, event) for event in reversed(children.get(None, []))]
    while pending:
        depth, event = pending.pop()
        yield depth, event
        pending.extend((depth + 1, child) for child in reversed(children.get(event.event_id, [])))
