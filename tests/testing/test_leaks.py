"""Tasks that outlive a block, and what is in flight."""

from __future__ import annotations

import asyncio
import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from spanloom import CallbackManager, get_callback_manager, run_jobs, use_callback_manager
from spanloom.callbacks.manager import living_managers
from spanloom.testing import LeakedTasksError, findings_report, in_flight_report, no_leaked_tasks


async def wait(event: asyncio.Event) -> None:
    await event.wait()


async def until(fact: Callable[[], bool]) -> None:
    """Let others run until something is true."""
    async with asyncio.timeout(30):
        while not fact():
            await asyncio.sleep(0)


async def test_a_task_that_is_left_behind_is_named_with_its_place() -> None:
    """The message has name, function, file and line; the tasks are left as they are."""
    event = asyncio.Event()
    running = asyncio.create_task(wait(event), name="before")
    with pytest.raises(LeakedTasksError) as caught:
        async with no_leaked_tasks():
            one = asyncio.create_task(wait(event), name="one")
            two = asyncio.create_task(wait(event), name="two")
            await asyncio.sleep(0)
    assert caught.value.tasks == [one, two]
    first, second, third = str(caught.value).splitlines()
    assert first == "2 tasks left behind:"
    assert second.startswith(f"  one: wait, {Path(__file__)}:")
    assert third.startswith("  two: wait, ")
    event.set()
    await asyncio.gather(running, one, two)


async def test_tasks_that_end_in_time_are_no_leak() -> None:
    """What has ended, or was cancelled and only has to notice, is no concern."""
    async with no_leaked_tasks():
        await asyncio.create_task(asyncio.sleep(0))
        asyncio.create_task(asyncio.sleep(100)).cancel()
        soon = asyncio.create_task(asyncio.sleep(0))
    assert soon.done()


async def test_an_error_of_the_block_goes_before() -> None:
    """A block that fails is not said to leak."""
    event = asyncio.Event()
    with pytest.raises(KeyError):
        async with no_leaked_tasks():
            task = asyncio.create_task(wait(event))
            raise KeyError
    event.set()
    await task


async def test_what_is_in_flight_is_told_from_every_manager() -> None:
    """Open events are indented under their parents, with their ages; nothing open gives an empty text."""
    event = asyncio.Event()
    own = CallbackManager()

    async def elsewhere() -> None:
        with use_callback_manager(own):
            await run_jobs([wait(event), wait(event)])

    async with asyncio.TaskGroup() as group:
        group.create_task(elsewhere())
        await until(lambda: len(own.in_flight()) == 3)
        with get_callback_manager().event(name="here"):
            lines = (await asyncio.to_thread(in_flight_report)).splitlines()
        event.set()
    mine = [line.partition(", open for ")[0] for line in lines]
    where = mine.index("batch wait")
    assert mine[where : where + 3] == ["batch wait", "  job wait #0", "  job wait #1"]
    assert any(line.endswith("here") for line in mine)
    assert "wait #0" not in in_flight_report()


async def test_a_report_does_not_grow_without_end() -> None:
    """Of many events, the first are shown, and how many more there are."""
    others = sum(len(manager.in_flight()) for manager in living_managers())  # of tests before
    event = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(run_jobs([wait(event) for _ in range(100)], workers=100))
        await until(lambda: sum(len(manager.in_flight()) for manager in living_managers()) == others + 101)
        lines = in_flight_report().splitlines()
        event.set()
    assert len(lines) == 51
    assert any("job wait" in line for line in lines)
    assert lines[50] == f"and {others + 51} more"


def test_findings_are_told_and_a_diagnosis_that_fails_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each finding is a line; an error of the diagnosis is logged and changes nothing."""
    stand_in = types.ModuleType("spanloom.diagnosis.why")
    finding = types.SimpleNamespace(level="PROVEN", message="nobody ever sets the event")
    stand_in.why = lambda: [finding]  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "spanloom.diagnosis", types.ModuleType("spanloom.diagnosis"))
    monkeypatch.setitem(sys.modules, "spanloom.diagnosis.why", stand_in)
    assert findings_report() == "PROVEN: nobody ever sets the event"

    def fail() -> None:
        raise RuntimeError("broken")

    stand_in.why = fail  # type: ignore[attr-defined]  # as above
    with caplog.at_level(logging.ERROR, "spanloom.testing"):
        assert findings_report() == ""
    assert "the diagnosis failed" in caplog.text
    caplog.clear()
    monkeypatch.setitem(sys.modules, "spanloom.diagnosis.why", None)
    assert findings_report() == ""
    assert "the diagnosis failed" in caplog.text  # it could not be imported: nobody knows that all is well
