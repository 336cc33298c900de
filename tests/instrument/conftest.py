from __future__ import annotations

from collections.abc import Iterator

import pytest

import spanloom
from spanloom import CallbackManager, Event, use_callback_manager
from tests.instrument.model_server import ModelServer, model_server


@pytest.fixture
def manager() -> Iterator[CallbackManager]:
    """A manager of the test's own, and no library patched before or after."""
    assert spanloom.instrumented() == ()
    own = CallbackManager()
    with use_callback_manager(own):
        yield own
    spanloom.uninstrument()
    assert own.stats().open == 0


@pytest.fixture
def patched(manager: CallbackManager) -> CallbackManager:
    """The same, with asyncio patched."""
    spanloom.instrument("asyncio")
    return manager


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A server of models on this machine."""
    with model_server() as server:
        yield server


def ended(manager: CallbackManager, type: str) -> list[Event]:
    """Return the events of a type that have ended."""
    assert manager.recorder is not None
    return [event for event in manager.recorder.ended() if event.type == type]


def tree(manager: CallbackManager) -> list[str]:
    """Return what has ended, in the order of its start, each line indented by its depth."""
    assert manager.recorder is not None
    events = {event.event_id: event for event in manager.recorder.ended()}
    children: dict[int | None, list[Event]] = {}
    for event in events.values():
        children.setdefault(event.parent_id if event.parent_id in events else None, []).append(event)
    lines: list[str] = []

    def add(event: Event, depth: int) -> None:
        lines.append(f"{'  ' * depth}{event.type} {event.name} {event.status}")
        for child in sorted(children.get(event.event_id, ()), key=_order):
            add(child, depth + 1)

    for root in sorted(children.get(None, ()), key=_order):
        add(root, 0)
    return lines


def _order(event: Event) -> tuple[int, int]:
    # Jobs by their index: those that waited for a slot start when they have got it.
    return (0, event.job_index or 0) if event.type == "job" else (1, event.start_ns)
