"""How the tests of the facades run their scenarios."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from spanloom.testing import virtual_clock

T = TypeVar("T")


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run `scenario` on a virtual clock, and make sure that it leaves no task behind."""

    async def alone() -> T:
        try:
            return await scenario
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with virtual_clock() as runner:
        return runner.run(alone())


class Jobs:
    """Makes jobs that sleep, and keeps account of them.

    Attributes:
        started, ended, cancelled: Names of jobs, in the order in which it happened to them.
        alive, most: How many run now, and ran at once.
    """

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.ended: list[Any] = []
        self.cancelled: list[Any] = []
        self.alive = self.most = 0

    async def sleep(self, seconds: float, name: object = None, error: BaseException | None = None) -> Any:
        """Sleep so long, and return `name`, by default `seconds`; or raise `error`."""
        name = seconds if name is None else name
        self.started.append(name)
        self.alive += 1
        self.most = max(self.most, self.alive)
        try:
            await asyncio.sleep(seconds)
            if error is not None:
                raise error
            self.ended.append(name)
            return name
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        finally:
            self.alive -= 1
