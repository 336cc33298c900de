"""The kinds of event loops that jobs have to behave on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

LOOPS = ["asyncio", "uvloop", *(["eager"] if sys.version_info >= (3, 12) else [])]


def run_on(kind: str, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on a new loop of that kind; fail if it leaves a task behind or the loop complains."""
    complaints: list[Any] = []

    async def main() -> T:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: complaints.append(context))
        if kind == "eager":
            loop.set_task_factory(asyncio.eager_task_factory)
        value = await coroutine
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return value

    if kind == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            value = runner.run(main())
    else:
        with asyncio.Runner() as runner:
            value = runner.run(main())
    assert complaints == []
    return value
