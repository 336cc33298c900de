"""The check that a test leaves no task behind, made inside of its event loop, whoever runs that."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from spanloom.testing import LeakedTasksError, no_leaked_tasks

__all__ = ["watch"]


def watch(item: Any) -> None:
    """Have the test function of `item` checked; one that is no coroutine function has no loop to leave tasks in."""
    function = getattr(item, "obj", None)
    if not inspect.iscoroutinefunction(function):
        return

    @functools.wraps(function)
    async def checked(*args: Any, **kwargs: Any) -> None:
        found = None
        try:
            async with no_leaked_tasks():
                await function(*args, **kwargs)
        except LeakedTasksError as leak:
            found = str(leak)
        if found is not None:  # not above: the report would be there twice, "during handling of" itself
            pytest.fail(found, pytrace=False)

    item.obj = checked
