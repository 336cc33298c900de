"""A retry whose first attempt succeeds: one record, which everyone sees as two events."""

from __future__ import annotations

import contextvars
import functools
import sys
import threading
import types
from collections.abc import Generator
from typing import Any

import pytest

from spanloom import CallbackManager, RetryPolicy, link, retry, use_callback_manager
from spanloom.callbacks.ambient import current_attempt
from spanloom.events.event import Event
from tests.callbacks.recorders import Inline, recorded

QUICK = RetryPolicy(base_delay=0.0)


async def test_both_are_seen_while_it_runs_and_after() -> None:
    """The retry and the attempt are open together, and the very same two are in the flight recorder once ended."""
    manager = CallbackManager()
    seen: list[Event] = []

    async def work() -> int:
        seen.extend(manager.in_flight())
        assert manager.stats().open == 3
        return 7

    with use_callback_manager(manager), manager.event(name="outer") as outer:
        assert await QUICK.retrying(work)() == 7
    outer_event, whole, attempt = seen
    assert [event.type for event in seen] == ["step", "retry", "attempt"]
    assert [event.parent_id for event in seen] == [None, outer.event_id, whole.event_id]
    assert {event.trace_id for event in seen} == {outer.trace_id}
    assert recorded(manager) == [attempt, whole, outer_event]
    assert [event.status for event in seen] == ["ok"] * 3
    assert [event.attempt for event in seen] == [None, None, 1]
    assert whole.start_ns == attempt.start_ns
    assert whole.end_ns == attempt.end_ns
    stats = manager.stats()
    assert (stats.produced, stats.open, stats.recorded) == (3, 0, 3)


async def test_both_are_made_after_the_end_as_well() -> None:
    """Who looks only after the end finds the same two events, however often."""
    manager = CallbackManager()

    async def work() -> None:
        manager.emit(name="inside")

    with use_callback_manager(manager):
        await retry(work)
    inside, attempt, whole = recorded(manager)
    assert recorded(manager) == [inside, attempt, whole]
    assert (inside.parent_id, attempt.parent_id, whole.parent_id) == (attempt.event_id, whole.event_id, None)
    assert attempt.status == whole.status == "ok"
    assert inside.trace_id == attempt.trace_id == whole.trace_id
    assert manager.trace_map(whole.trace_id) == {
        whole.event_id: [attempt.event_id],
        attempt.event_id: [inside.event_id],
    }


async def test_a_retry_that_is_a_root_has_a_trace_once_someone_asks() -> None:
    """The map of its trace can be asked for by the id that its events show, while it runs and after."""
    manager = CallbackManager()
    maps = []

    async def work() -> None:
        _, attempt = manager.in_flight()
        maps.append((attempt.trace_id, manager.trace_map(attempt.trace_id)))

    with use_callback_manager(manager):
        await retry(work)
        await retry(_nothing)
    maps += [(event.trace_id, manager.trace_map(event.trace_id)) for event in recorded(manager)]
    assert maps[0] == maps[1] == maps[2]
    assert maps[3] == maps[4]
    assert maps[0][0] != maps[3][0]


async def _nothing() -> None:
    pass


async def test_a_failed_attempt_leaves_the_retry_that_was_seen_open() -> None:
    """The retry that was seen during the first attempt goes on after it, and ends with the last one."""
    manager = CallbackManager()
    seen: list[list[Event]] = []

    async def work() -> int:
        seen.append(manager.in_flight())
        assert current_attempt() == len(seen)
        if len(seen) < 3:
            raise ValueError
        return 1

    with use_callback_manager(manager):
        assert await QUICK.retrying(work)() == 1
    wholes = {id(events[0]) for events in seen}
    assert len(wholes) == 1
    assert [(event.type, event.status) for event in recorded(manager)] == [
        ("attempt", "error"),
        ("backoff", "ok"),
        ("attempt", "error"),
        ("backoff", "ok"),
        ("attempt", "ok"),
        ("retry", "ok"),
    ]
    assert recorded(manager)[-1] is seen[0][0]
    assert manager.stats().produced == 6


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
async def test_what_is_not_retried_ends_both(error: BaseException) -> None:
    """An exception that is raised at once ends the attempt and the retry, and nothing stays open or current."""
    manager = CallbackManager()

    async def work() -> None:
        raise error

    with use_callback_manager(manager), pytest.raises(type(error)) as caught:
        await RetryPolicy(retry_on=KeyError).retrying(work)()
    assert caught.value is error
    assert [(event.type, event.status) for event in recorded(manager)] == [
        ("attempt", "error"),
        ("retry", "error"),
    ]
    assert manager.in_flight() == []
    assert manager.current.get() is None


async def test_an_event_may_be_put_under_the_retry_by_its_id() -> None:
    """The id of the retry is that of an open event, although it has no record of its own yet."""
    manager = CallbackManager()

    async def work() -> None:
        whole, _ = manager.in_flight()
        manager.on_event_end(manager.on_event_start("step", name="beside", parent_id=whole.event_id))

    with use_callback_manager(manager):
        await retry(work)
    beside, _, whole = recorded(manager)
    assert beside.parent_id == whole.event_id


async def test_it_can_be_linked_to_another_event() -> None:
    """What is attached to the attempt is in its payload."""
    manager = CallbackManager()
    with manager.event(name="earlier") as earlier:
        pass

    async def work() -> None:
        link(earlier)

    with use_callback_manager(manager):
        await retry(work)
    attempt = recorded(manager)[1]
    assert "links" in attempt.payload


def test_an_attribute_of_a_link_may_have_any_name() -> None:
    """Also that of the parameter: what a link is called in messages is often its target."""
    manager = CallbackManager()
    with manager.event(name="earlier") as earlier:
        pass
    with use_callback_manager(manager), manager.event(name="later") as later:
        later.link(earlier, target="one", self="two")
        link(earlier, target="three")
    links = recorded(manager)[1].payload["links"]
    assert [each["attributes"] for each in links] == [{"target": "one", "self": "two"}, {"target": "three"}]


@pytest.mark.parametrize("target", [None, "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", 3])
def test_what_cannot_be_linked_to_is_told(target: Any) -> None:
    """The message says what can, instead of which attribute is missing."""
    with (
        CallbackManager().event(name="later") as later,
        pytest.raises(TypeError, match=r"link to an event, .* not to"),
    ):
        later.link(target)


@pytest.mark.parametrize(
    "header",
    [
        f"ff-{1:032x}-{1:016x}-01",  # a version that there will never be
        f"00-{0:032x}-{1:016x}-01",
        f"00-{1:032x}-{0:016x}-01",
        f"00-{1:032x}-{1:016x}-01-more",
        f"00-{1:032x}-{1:016x}",
        "00-" + "g" * 32 + f"-{1:016x}-01",
    ],
)
def test_a_carrier_that_names_no_span_adds_no_link(header: str) -> None:
    """What W3C Trace Context, section 3.2.2, calls invalid; a later version may have more to say."""
    with CallbackManager().event(name="later") as later:
        later.link({"traceparent": header})
        assert later.event is not None
        assert "links" not in later.event.payload
        later.link({"traceparent": f"01-{1:032x}-{1:016x}-01-more"})
        assert later.event.payload["links"] == [
            {"trace_id": f"{1:032x}", "event_id": f"{1:016x}", "flags": 1}
        ]


async def test_the_ring_counts_both() -> None:
    """The flight recorder keeps as many events as it was told to, whatever its records stand for."""
    manager = CallbackManager(recorder=3)
    with use_callback_manager(manager):
        for _ in range(5):
            await retry(_nothing)
    assert [event.type for event in recorded(manager)] == ["retry", "attempt", "retry"]
    assert manager.stats().recorded == 3
    assert manager.stats().produced == 10


async def test_one_who_looks_from_another_thread_sees_every_end() -> None:
    """A thread that looks at open retries all the time finds each of them ended later on, in a trace that has ended."""
    manager = CallbackManager()
    stop = threading.Event()
    seen: dict[int, Event] = {}

    def look() -> None:
        while not stop.is_set():
            seen.update((event.event_id, event) for event in manager.in_flight() if event.trace_id)

    looker = threading.Thread(target=look)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that it looks anywhere
    looker.start()
    try:
        with use_callback_manager(manager):
            call = QUICK.retrying(_nothing)
            while len(seen) < 20:
                await call()
    finally:
        sys.setswitchinterval(interval_s)
        stop.set()
        looker.join()
    assert [event for event in seen.values() if event.end_ns is None] == []
    assert manager._traces.open == {}


@pytest.mark.parametrize("handlers", [[], [Inline()]])
async def test_a_retry_that_is_closed_elsewhere_leaves_a_strangers_event_alone(
    handlers: list[object],
) -> None:
    """A coroutine may be torn down in another context than it ran in: what is current there stays so."""
    manager = CallbackManager(handlers)

    @types.coroutine
    def pause() -> Generator[None, None, None]:
        yield

    async def work() -> None:
        await pause()

    for decorated in (QUICK.retrying(work), functools.partial(retry, work), manager.trace()(work)):
        coroutine = decorated()
        with use_callback_manager(manager):
            contextvars.copy_context().run(coroutine.send, None)
            with manager.event(name="stranger") as stranger:
                coroutine.close()
                assert manager.current.get() is stranger.event
        assert manager.current.get() is None
    assert manager.in_flight() == []
