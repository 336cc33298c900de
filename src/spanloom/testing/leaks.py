"""Tasks that outlive the code which started them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

__all__ = ["LeakedTasksError", "no_leaked_tasks"]

TURNS: Final = 3
"""Turns of the loop in which a task that was just cancelled may still end."""


class LeakedTasksError(AssertionError):
    """A block has left tasks behind.

    Attributes:
        tasks: Those tasks.
    """

    def __init__(self, tasks: list[asyncio.Task[object]]) -> None:
        self.tasks = tasks
        lines = "".join(f"\n  {_place(task)}" for task in tasks)
        super().__init__(f"{len(tasks)} task{'s' if len(tasks) > 1 else ''} left behind:{lines}")

    def __reduce__(self) -> tuple[object, ...]:
        return _of_text, self.args  # tasks stay in the process that has them


def _of_text(text: str) -> LeakedTasksError:
    error = LeakedTasksError([])
    error.args = (text,)
    return error


@asynccontextmanager
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Assert that no task started in a block is still running when the block ends.

    If the block itself raises, nothing is checked. Leaked tasks are not cancelled.

    Raises:
        LeakedTasksError: there are such tasks; the message has the name of each and where it is suspended.
    """
    before = asyncio.all_tasks()
    yield
    for _ in range(TURNS):
        left = _started_since(before)
        if not left:
            return
        await asyncio.sleep(0)
    left = _started_since(before)
    if left:
        raise LeakedTasksError(left)


def _started_since(before: set[asyncio.Task[object]]) -> list[asyncio.Task[object]]:
    return sorted(asyncio.all_tasks() - before, key=lambda task: task.get_name())


def _place(task: asyncio.Task[object]) -> str:
    stack = task.get_stack()
    if not stack:
        return f"{task.get_name()}, which has not started"
    frame = stack[-1]
    return f"{task.get_name()}: {frame.f_code.co_qualname}, {frame.f_code.co_filename}:{frame.f_lineno}"
