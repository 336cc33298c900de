"""What is told of a task of which little could be seen."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from spanloom.diagnosis.crowds import Crowds
from spanloom.diagnosis.views import Views


async def label(name: str | None) -> str:
    """Return the label of a task that was on its way, so that no frame of it could be read."""

    async def fetch() -> None: ...

    task = asyncio.create_task(fetch(), name=name)
    nothing: Any = SimpleNamespace(due=frozenset(), woken=frozenset())
    crowds: Any = SimpleNamespace(members=lambda _: ())
    fields = {"key": 1, "loop": None, "state": "ready", "main": False, "leaf": None, "was": None}
    seen: Any = SimpleNamespace(task=task, links=(), wait=None, cancellers=(), view=None, **fields)
    view = Views(nothing, nothing, cast("Crowds", crowds)).task(seen)
    await task
    return view.label


async def test_a_task_whose_frames_cannot_be_read_is_called_by_its_function() -> None:
    """A list of who holds a lock has no holes in it."""
    assert await label(None) == "fetch"


async def test_a_name_that_its_author_has_given_comes_first() -> None:
    """Whatever could be seen."""
    assert await label("first page") == "first page"
