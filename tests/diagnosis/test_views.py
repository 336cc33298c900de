"""What is told of a task of which little could be seen."""

from __future__ import annotations

import asyncio

from spanloom.diagnosis.views import _Chain, _label


async def label(name: str | None) -> str:
    """Return the label of a task that was on its way, so that no frame of it could be read."""

    async def fetch() -> None: ...

    task = asyncio.create_task(fetch(), name=name)
    found = _label(task.get_name(), _Chain((), -1, ""), task)
    await task
    return found


async def test_a_task_whose_frames_cannot_be_read_is_called_by_its_function() -> None:
    """A list of who holds a lock has no holes in it."""
    assert await label(None) == "fetch"


async def test_a_name_that_its_author_has_given_comes_first() -> None:
    """Whatever could be seen."""
    assert await label("first page") == "first page"
