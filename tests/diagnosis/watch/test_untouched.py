"""What is looked at is not asked: no code of the program is run by the watching thread."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from spanloom.diagnosis import look
from spanloom.diagnosis.watch.locks import _holders
from spanloom.diagnosis.watch.progress import fingerprint
from spanloom.diagnosis.watch.reach import await_chain, knows_task
from spanloom.diagnosis.watch.threads import see_threads

ASKED: list[str] = []


class Touchy:
    """Says when it is asked for an attribute, its class, or whether it is true."""

    def __getattribute__(self, name: str) -> Any:
        ASKED.append(name)
        return object.__getattribute__(self, name)

    @property  # type: ignore[misc] # as lazy objects and mocks have it
    def __class__(self) -> Any:
        ASKED.append("__class__")
        return dict

    def __bool__(self) -> bool:
        ASKED.append("__bool__")
        return True

    def __eq__(self, other: object) -> bool:
        ASKED.append("__eq__")
        return False

    def __hash__(self) -> int:
        ASKED.append("__hash__")
        return 1

    def __repr__(self) -> str:
        ASKED.append("__repr__")
        return "Touchy"


class TouchyDict(dict[int, int]):
    """A dictionary that says when its length or what is in it is asked for."""

    def __len__(self) -> int:
        ASKED.append("__len__")
        return 0

    def __iter__(self) -> Iterator[int]:
        ASKED.append("__iter__")
        return iter(())


@pytest.fixture
def asked() -> Iterator[list[str]]:
    ASKED.clear()
    yield ASKED
    ASKED.clear()


def test_no_object_of_the_program_is_asked_for_anything(asked: list[str]) -> None:
    """Neither who spins, nor who knows what, nor who holds a lock, nor a whole look runs a method of the program."""

    async def wait(event: asyncio.Event) -> None:
        held, table = Touchy(), TouchyDict({1: 2})
        callback = lambda: (held, table)  # noqa: E731 -- what a closure holds is looked at as well
        await event.wait()
        callback()

    async def main() -> None:
        event = asyncio.Event()
        task = asyncio.create_task(wait(event))
        await asyncio.sleep(0)
        asked.clear()
        things, _ = fingerprint(await_chain(task))
        assert things["0.table#"] == (1, frozenset(map(id, [1])))
        assert not knows_task(task, object())
        assert list(_holders(task)) == []
        look()
        found = asked.copy()
        event.set()
        await task
        assert found == []

    asyncio.run(main())
    gc.collect()


def test_what_a_variable_held_lives_no_longer_because_it_was_looked_at() -> None:
    """However often a task is looked at, nothing keeps what a variable of it held until it held something else."""

    class Thing:
        pass

    async def hold(queue: asyncio.Queue[Thing]) -> None:
        while True:
            thing = await queue.get()  # noqa: F841 -- held until there is another

    async def main() -> None:
        queue: asyncio.Queue[Thing] = asyncio.Queue()
        task = asyncio.create_task(hold(queue))
        never = asyncio.create_task(asyncio.Event().wait())  # so that looks go into it
        queue.put_nowait(thing := Thing())
        reference = weakref.ref(thing)
        del thing
        await asyncio.sleep(0)
        for _ in range(3):
            look()
        queue.put_nowait(Thing())
        await asyncio.sleep(0.01)
        gc.collect()
        assert reference() is None
        task.cancel()
        never.cancel()

    asyncio.run(main())


def test_what_a_pool_has_worked_on_lives_no_longer_because_it_was_looked_at() -> None:
    """The frame of a thread of a pool lives as long as the pool; it has nothing of a job that is done."""

    class Work:
        def __init__(self) -> None:
            self.begun, self.gate = threading.Event(), threading.Event()

        def __call__(self) -> None:
            self.begun.set()
            self.gate.wait()

    with ThreadPoolExecutor(1) as pool:
        work = Work()
        future, done = pool.submit(work), weakref.ref(work)
        work.begun.wait()
        seen = see_threads(0)
        assert [one.threads for one in seen.pools.values()], "the pool has been found"
        work.gate.set()
        future.result()
        del work, future, seen
        pool.submit(int).result()  # the thread has let go of the one before when it takes the next
        gc.collect()
        assert done() is None


def test_what_a_program_has_from_locals_is_left_in_it() -> None:
    """Before Python 3.13 that is the dictionary in which the variables are read, and it is the program's."""

    async def work() -> dict[str, object]:
        number = 7
        kept = locals()
        await asyncio.sleep(0)
        assert number
        return kept

    async def main() -> dict[str, object]:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        assert fingerprint(await_chain(task))[1]
        return await task

    assert asyncio.run(main())["number"] == 7
