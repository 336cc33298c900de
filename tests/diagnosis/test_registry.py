"""What asyncio knows of loops and tasks is found from any thread, on each Python in its own way."""

from __future__ import annotations

import asyncio
import gc
import threading
from asyncio import tasks
from collections.abc import Iterator
from typing import Any

import pytest

from spanloom.diagnosis.history.live import refs
from spanloom.diagnosis.registry import current_tasks, every_task
from spanloom.diagnosis.running import let_go, running_threads

PyTask: Any = tasks._PyTask


class OwnTask(asyncio.Task[Any]):
    """As a library has them."""


class Elsewhere:
    """A loop in another thread, with an ended task, three that wait, and one that holds the loop."""

    def __init__(self) -> None:
        self.tasks: dict[str, Any] = {}
        self.holds = threading.Event()
        self.release = threading.Event()
        self.thread = threading.Thread(target=asyncio.run, args=(self.main(),))
        self.thread.start()

    async def main(self) -> None:
        loop = asyncio.get_running_loop()
        end = asyncio.Event()
        self.tasks["ended"] = asyncio.create_task(asyncio.sleep(0))
        self.tasks["of C"] = asyncio.create_task(end.wait())
        self.tasks["derived"] = OwnTask(end.wait())
        self.tasks["of Python"] = PyTask(end.wait(), loop=loop)
        await asyncio.sleep(0.01)
        self.tasks["main"] = asyncio.current_task()
        self.holds.set()
        self.release.wait(60)
        end.set()
        await asyncio.gather(*(task for name, task in self.tasks.items() if name != "main"))

    def end(self) -> None:
        self.release.set()
        self.thread.join()


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """A loop in another thread that is held."""
    there = Elsewhere()
    assert there.holds.wait(60)
    yield there
    there.end()


def test_every_task_is_found_ended_ones_too(elsewhere: Elsewhere) -> None:
    """Of another thread's loop, of each class of tasks, without that loop being asked."""
    found = {id(task) for task in every_task()}
    assert {name for name, task in elsewhere.tasks.items() if id(task) not in found} == set()


def test_there_are_weak_references_to_all_that_have_not_ended(elsewhere: Elsewhere) -> None:
    """A loop need not have been met before: that it runs in a thread is enough."""
    found = {id(reference()) for reference in refs()}
    missing = {name for name, task in elsewhere.tasks.items() if id(task) not in found}
    assert missing <= {"ended"}


def test_a_task_that_is_held_by_nobody_else_is_not_kept(elsewhere: Elsewhere) -> None:
    """References do not keep alive what they refer to."""
    kept = refs()
    (reference,) = [one for one in kept if one() is elsewhere.tasks["of C"]]
    elsewhere.end()
    elsewhere.tasks.clear()
    gc.collect()
    assert reference() is None


def test_the_task_that_a_loop_is_at_is_known(elsewhere: Elsewhere) -> None:
    """With its loop, from another thread, while that task computes."""
    threads = running_threads()
    loops = [thread.loop for thread in threads if thread.loop is not None]
    let_go(threads)
    main = elsewhere.tasks["main"]
    assert current_tasks(loops)[id(main.get_loop())] == (main.get_loop(), main)
