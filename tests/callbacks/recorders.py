"""Handlers that keep what they are told, for the tests of this folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from spanloom.callbacks import CallbackManager
from spanloom.callbacks.stats import HandlerStats
from spanloom.events import Event


class Inline:
    """Keeps every inline call, in order, as a line of text."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.events: list[Event] = []

    def on_event_start(self, event: Event) -> None:
        self.calls.append(f"start {event.name}")

    def on_event_end(self, event: Event) -> None:
        self.calls.append(f"end {event.name} {event.status}")
        self.events.append(event)

    def on_event(self, event: Event) -> None:
        self.calls.append(f"point {event.name}")
        self.events.append(event)

    def start_trace(self, trace_id: int, name: str) -> None:
        self.calls.append(f"trace {name}")

    def end_trace(self, trace_id: int, trace_map: Mapping[int, Sequence[int]]) -> None:
        self.calls.append(f"trace of {sum(map(len, trace_map.values()))} children ended")

    def close(self) -> None:
        self.calls.append("close")


class Lists:
    """Keeps the lists that it is given."""

    def __init__(self) -> None:
        self.lists: list[list[Event]] = []
        self.threads: set[threading.Thread] = set()
        self.closed = 0

    def on_events(self, events: Sequence[Event]) -> None:
        self.lists.append(list(events))
        self.threads.add(threading.current_thread())

    def close(self) -> None:
        self.closed += 1

    @property
    def events(self) -> list[Event]:
        return [event for events in self.lists for event in events]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]


class Gate(Lists):
    """A batch handler that waits, in its hook, until the test opens it."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.opened = threading.Event()

    def on_events(self, events: Sequence[Event]) -> None:
        self.entered.set()
        assert self.opened.wait(30)
        super().on_events(events)


class Ends:
    """Defines nothing but ``on_event_end``, which does what the test says."""

    def __init__(self, act: Callable[[Event], object] = lambda event: None) -> None:
        self.act = act
        self.seen: list[str] = []

    def on_event_end(self, event: Event) -> None:
        self.seen.append(event.name)
        self.act(event)


def stats_of(manager: CallbackManager, handler: object) -> HandlerStats:
    return manager.stats().handlers[manager.handlers.index(handler)]


def adds_up(stats: HandlerStats) -> bool:
    return stats.produced == stats.delivered + stats.dropped + stats.pending


def recorded(manager: CallbackManager) -> list[Event]:
    assert manager.recorder is not None
    return manager.recorder.ended()
