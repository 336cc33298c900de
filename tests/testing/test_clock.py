"""The event loop whose time passes in no time."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from spanloom.testing import VirtualClockLoop, virtual_clock


def test_an_hour_passes_at_once() -> None:
    """Sleeping moves the loop's clock, and not the wall's."""

    async def main() -> float:
        assert asyncio.get_running_loop().time() == 0
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    started = time.monotonic()
    with virtual_clock() as runner:
        assert runner.run(main()) == pytest.approx(3600)
        assert isinstance(runner.get_loop(), VirtualClockLoop)
    assert time.monotonic() - started < 600


def test_timers_fire_in_order_and_equal_ones_as_they_were_set() -> None:
    """Of any number of timers for one time, the first set fires first."""
    fired: list[tuple[int, int]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(100):
            loop.call_at(number % 3, fired.append, (number % 3, number))
        cancelled = loop.call_at(1, fired.append, (9, 9))
        cancelled.cancel()
        await asyncio.sleep(5)

    with virtual_clock() as runner:
        runner.run(main())
    assert fired == sorted(fired)
    assert len(fired) == 100


def test_a_timeout_ends_what_would_never_end() -> None:
    """`asyncio.timeout` works on virtual time."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.get_running_loop().create_future()
        return asyncio.get_running_loop().time()

    with virtual_clock() as runner:
        assert runner.run(main()) == pytest.approx(60)


def test_time_does_not_jump_while_a_thread_works() -> None:
    """A timer of an hour does not fire while `asyncio.to_thread` runs for a moment."""
    release = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.001, release.set)
        async with asyncio.timeout(3600):
            assert await asyncio.to_thread(release.wait, 60)
        assert 0 < loop.time() < 60

    with virtual_clock() as runner:
        runner.run(main())


def test_what_is_ready_comes_before_time_passes() -> None:
    """Data that waits in a socket is read before the clock moves."""

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(b"data")
            async with asyncio.timeout(1):
                data = await loop.sock_recv(ours, 10)
        assert loop.time() == 0
        return data

    with virtual_clock() as runner:
        assert runner.run(main()) == b"data"
