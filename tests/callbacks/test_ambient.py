"""The ambient manager, and the way of a trace into threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from typing import Any

import pytest

from spanloom import current_event, get_callback_manager, in_flight, propagate, use_callback_manager
from spanloom.callbacks import CallbackManager, ambient
from tests.callbacks.recorders import recorded


def test_the_default_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads ask first, there is one default manager, made by the factory."""
    monkeypatch.setattr(ambient, "_default", None)
    made = []

    def factory() -> CallbackManager:
        made.append(CallbackManager())
        return made[-1]

    monkeypatch.setattr(ambient, "_factory", None)
    ambient.set_default_factory(factory)
    barrier = threading.Barrier(8)

    def ask() -> CallbackManager:
        barrier.wait()
        return get_callback_manager()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = {future.result() for future in [pool.submit(ask) for _ in range(8)]}
    assert found == set(made)
    assert len(made) == 1
    assert ambient._make_default() is made[0]


def test_who_waits_for_the_default_manager_is_told_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of asking, once each; who asks later is told at once; nobody makes it by waiting."""
    monkeypatch.setattr(ambient, "_default", None)
    monkeypatch.setattr(ambient, "_factory", CallbackManager)
    told: list[tuple[str, CallbackManager]] = []
    ambient.with_default_manager(lambda manager: told.append(("first", manager)))
    ambient.with_default_manager(lambda manager: told.append(("second", manager)))
    assert told == []
    manager = get_callback_manager()
    assert told == [("first", manager), ("second", manager)]
    ambient.with_default_manager(lambda manager: told.append(("late", manager)))
    get_callback_manager()
    assert told[2:] == [("late", manager)]


def test_a_block_chooses_its_manager() -> None:
    """Inside the block the chosen manager is ambient, nested choices win, and after it all is as before."""
    before = get_callback_manager()
    one, other = CallbackManager(), CallbackManager()
    with use_callback_manager(one) as given:
        assert given is one
        assert get_callback_manager() is one
        with pytest.raises(ValueError, match="x"), use_callback_manager(other):
            assert get_callback_manager() is other
            raise ValueError("x")
        assert get_callback_manager() is one
    assert get_callback_manager() is before


def test_what_is_no_manager_is_refused() -> None:
    """Giving a handler, or a class, in place of a manager is told at once."""
    with pytest.raises(TypeError, match="needs a CallbackManager, not type"):
        use_callback_manager(CallbackManager).__enter__()  # type: ignore[arg-type]  # the mistake under test


def test_a_block_left_out_of_order_chooses_nothing() -> None:
    """A block that ends while another one is inside leaves that one's choice alone."""
    one, other = CallbackManager(), CallbackManager()
    outer, inner = use_callback_manager(one), use_callback_manager(other)

    def run() -> None:
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        assert get_callback_manager() is other
        inner.__exit__(None, None, None)

    contextvars.Context().run(run)


async def test_tasks_choose_apart() -> None:
    """A choice is seen by the tasks started inside it, and by nobody beside it."""
    one, other = CallbackManager(), CallbackManager()

    async def child(manager: CallbackManager) -> bool:
        await asyncio.sleep(0)
        return get_callback_manager() is manager

    async def work(manager: CallbackManager) -> bool:
        with use_callback_manager(manager):
            await asyncio.sleep(0)
            return await asyncio.create_task(child(manager))

    assert await asyncio.gather(work(one), work(other), work(one)) == [True, True, True]


def test_the_current_event_and_the_open_ones() -> None:
    """The shortcuts ask the ambient manager."""
    with use_callback_manager(CallbackManager()) as manager:
        assert current_event() is None
        with manager.event(name="a") as a, manager.event(name="b") as b:
            assert current_event() is b.event
            assert in_flight() == [a.event, b.event]
        assert in_flight() == []


def test_a_trace_is_carried_into_threads() -> None:
    """A propagated function lies under the event that was open where it was propagated."""
    with use_callback_manager(CallbackManager()) as manager:
        with manager.event(name="outer") as outer:

            @propagate
            def work(number: int, *, name: str) -> str:
                """Do it."""
                assert get_callback_manager() is manager
                with manager.event(name=f"{name}{number}"):
                    return f"{name}{number}"

            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                futures = [pool.submit(work, number, name="w") for number in range(20)]
                assert [future.result() for future in futures] == [f"w{number}" for number in range(20)]
        assert {event.parent_id for event in recorded(manager)} == {outer.event_id, None}
        assert len(manager.trace_map(outer.trace_id)[outer.event_id]) == 20
    assert (work.__name__, work.__doc__) == ("work", "Do it.")


def test_each_call_has_its_own_copy_of_the_context() -> None:
    """Calls may overlap, and what one sets is seen neither by the next nor by the caller."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    variable.set(1)
    barrier = threading.Barrier(2)

    @propagate
    def work() -> int:
        barrier.wait(10)
        seen = variable.get()
        variable.set(2)
        return seen

    variable.set(3)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(work) for _ in range(4)]
        assert [future.result() for future in futures] == [1, 1, 1, 1]
    assert variable.get() == 3


def test_an_exception_goes_through() -> None:
    """What a propagated function raises is raised, the same object."""
    error = ValueError()

    @propagate
    def work() -> None:
        raise error

    with pytest.raises(ValueError) as caught:
        work()
    assert caught.value is error


async def test_what_is_no_function_cannot_be_propagated() -> None:
    """That is told at once, and not by the thread that would call it."""
    wrong: Any = asyncio.sleep(0)
    with pytest.raises(
        TypeError, match="propagate binds a function, not coroutine; give the function itself, or"
    ):
        propagate(wrong)
    await wrong
    for wrong in (5, None):
        with pytest.raises(TypeError, match=f"propagate binds a function, not {type(wrong).__name__}$"):
            propagate(wrong)
