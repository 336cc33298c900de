"""The deadline that a task runs under."""

from __future__ import annotations

import asyncio
import math
import sys
from types import ModuleType

import anyio
import pytest

from spanloom.concurrency.deadline import effective_deadline
from spanloom.testing import virtual_clock


def test_the_earliest_enclosing_deadline_counts() -> None:
    """Deadlines of asyncio and anyio nest in any order; outside of all there is none."""

    async def main() -> None:
        assert effective_deadline() == math.inf
        async with asyncio.timeout(10):
            assert effective_deadline() == pytest.approx(10)
            with anyio.move_on_after(5):
                assert effective_deadline() == pytest.approx(5)
                async with asyncio.timeout(7):
                    assert effective_deadline() == pytest.approx(5)
            async with asyncio.timeout(None):
                assert effective_deadline() == pytest.approx(10)
            async with asyncio.timeout(3) as inner:
                assert effective_deadline() == pytest.approx(3)
                inner.reschedule(8)
                assert effective_deadline() == pytest.approx(8)
        assert effective_deadline() == math.inf

    with virtual_clock() as runner:
        runner.run(main())


def test_an_anyio_that_is_being_imported_has_no_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be in the middle of it: the module is there, and what it defines is not."""
    monkeypatch.setitem(sys.modules, "anyio", ModuleType("anyio"))

    async def main() -> None:
        async with asyncio.timeout(10):
            assert effective_deadline() == pytest.approx(10)

    with virtual_clock() as runner:
        runner.run(main())


def test_the_deadlines_of_other_tasks_do_not_count() -> None:
    """A time-out of the caller is not one of the tasks it started, nor the other way round."""

    async def child() -> None:
        assert effective_deadline() == math.inf
        async with asyncio.timeout(1):
            await asyncio.sleep(0)

    async def main() -> None:
        async with asyncio.timeout(10):
            task = asyncio.create_task(child())
            await asyncio.sleep(0)
            assert effective_deadline() == pytest.approx(10)
            await task

    with virtual_clock() as runner:
        runner.run(main())
