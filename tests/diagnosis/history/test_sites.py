"""Where tasks are made is noted, on each Python in its own way."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator

import pytest
import uvloop

from spanloom.diagnosis.history.sites import BUDGET, Sites
from tests.diagnosis.history.listeners import others_rest

Runner = Callable[..., object]


@pytest.fixture(autouse=True)
def nobody_else_listens() -> Iterator[None]:
    """The watcher of this process, where another test has made it, rests: there is one listener at a time."""
    with others_rest():
        yield


@pytest.fixture
def sites() -> Iterator[Sites]:
    """Sites that listen."""
    found = Sites()
    found.listen()
    yield found
    found.stop()


async def child() -> None:
    await asyncio.sleep(0)


async def makes() -> None:
    await asyncio.gather(*(asyncio.create_task(child()) for _ in range(3)))  # the line that is looked for
    async with asyncio.TaskGroup() as group:
        group.create_task(child())


LINE = makes.__code__.co_firstlineno + 1


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_each_task_is_noted_once_where_it_was_made(run: Runner) -> None:
    """By the code of its function, with the line of the program's own that has made most of them."""
    sites = Sites()
    sites.listen()
    try:
        run(makes())
    finally:
        sites.stop()
    assert sites.count(child.__code__) == 4
    assert sites.main_site(child.__code__) == f"{__file__}:{LINE}"


def test_nothing_is_noted_after_stop(sites: Sites) -> None:
    """What was listened to is as before, and free for another who listens."""
    sites.stop()
    asyncio.run(makes())
    assert sites.made == {}
    other = Sites()
    other.listen()
    asyncio.run(makes())
    other.stop()
    assert other.count(child.__code__) == 4


async def test_no_more_than_the_budget_is_noted_in_one_step(sites: Sites) -> None:
    """Whoever makes many tasks pays for a few hundred of them, until the next step."""
    many = BUDGET + 50
    await asyncio.gather(*(child() for _ in range(many)))
    assert sites.count(child.__code__) <= BUDGET
    before = sites.count(child.__code__)
    assert sites.listen()
    await asyncio.create_task(child())
    assert sites.count(child.__code__) == before + 1


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before 3.14 asyncio's own set of tasks tells")
def test_another_tool_is_left_in_peace() -> None:
    """Where the id of the tool is taken, nothing is noted, and nothing of the other's is changed."""
    monitoring = sys.monitoring  # type: ignore[attr-defined] # not in the stubs of 3.11
    monitoring.use_tool_id(3, "another")
    try:
        sites = Sites()
        sites.listen()
        asyncio.run(makes())
        sites.stop()
        assert sites.made == {}
        assert monitoring.get_tool(3) == "another"
    finally:
        monitoring.free_tool_id(3)
