"""Since when batches stand still: what counts as a move, and of which batch."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from spanloom import CallbackManager, async_map, run_jobs, use_callback_manager
from spanloom.callbacks.standing import STALL_AFTER, Stand, Standing, check_stall_after, may_rest


class Looks:
    """Looks at the batches of the running program, a second later each time."""

    def __init__(self, pause_s: float = 1.0) -> None:
        self.standing = Standing()
        self.now_s = 100.0
        self.pause_s = pause_s

    def __call__(self) -> dict[str, Stand]:
        self.now_s += self.pause_s
        return {stand.event.name: stand for _, stand in self.standing.look(self.now_s)}

    def still_s(self) -> dict[str, float]:
        return {name: self.now_s - stand.since_s for name, stand in self().items()}


async def turns() -> None:
    """Let everything come as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def looks() -> Looks:
    """Looks at nothing yet."""
    return Looks()


async def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario under a manager of its own."""
    with use_callback_manager(CallbackManager()):
        await scenario()


async def test_a_batch_moves_when_a_job_ends(looks: Looks) -> None:
    """Its time begins anew; the longest that it stood still is remembered."""

    async def scenario() -> None:
        gates = [asyncio.Event(), asyncio.Event()]
        batch = asyncio.create_task(run_jobs([gate.wait() for gate in gates], desc="two"))
        await turns()
        assert [looks.still_s()["two"] for _ in range(4)] == [0, 1, 2, 3]
        gates[0].set()
        await turns()
        stand = looks()["two"]
        assert looks.now_s - stand.since_s == 0
        assert stand.longest_s == 3
        assert stand.limit_s(1.0) == 6.0  # as long may well pass again
        assert stand.limit_s(30.0) == 30.0
        gates[1].set()
        await batch
        assert looks() == {}

    await run(scenario)


async def test_a_batch_that_moves_at_every_look_has_never_stood_still(looks: Looks) -> None:
    """A look sees a move up to a step late: that is no pause."""

    async def scenario() -> None:
        gates = [asyncio.Event() for _ in range(4)]
        batch = asyncio.create_task(run_jobs([gate.wait() for gate in gates], desc="four"))
        await turns()
        for gate in gates[:3]:
            looks()
            gate.set()
            await turns()
        assert looks()["four"].longest_s == 0
        gates[3].set()
        await batch

    await run(scenario)


async def test_what_moves_inside_of_a_job_moves_its_batch(looks: Looks) -> None:
    """Also two batches farther out; and when the inner one ends."""

    async def scenario() -> None:
        gates = [asyncio.Event() for _ in range(2)]

        async def inner() -> None:
            await run_jobs([gate.wait() for gate in gates], desc="inner")
            await asyncio.Event().wait()

        async def middle() -> None:
            await run_jobs([inner()], desc="middle")

        batch = asyncio.create_task(run_jobs([middle()], desc="outer"))
        await turns()
        looks()
        assert looks.still_s() == {"outer": 1, "middle": 1, "inner": 1}
        gates[0].set()
        await turns()
        assert looks.still_s() == {"outer": 0, "middle": 0, "inner": 0}
        gates[1].set()
        await turns()
        assert looks.still_s() == {"outer": 0, "middle": 0}
        assert looks.still_s() == {"outer": 1, "middle": 1}
        batch.cancel()
        await asyncio.wait([batch])

    await run(scenario)


async def test_who_gives_up_a_batch_has_not_made_it_go_on(looks: Looks) -> None:
    """Neither jobs that were cancelled are a move, nor a batch inside that was."""

    async def scenario() -> None:
        inners: list[asyncio.Task[object]] = []

        async def job() -> None:
            inners.append(asyncio.create_task(run_jobs([asyncio.Event().wait()], desc="inner")))
            await asyncio.wait(inners)
            await asyncio.Event().wait()

        batch = asyncio.create_task(run_jobs([job()], desc="outer"))
        await turns()
        looks()
        looks()
        inners[0].cancel()
        await turns()
        assert looks.still_s() == {"outer": 2}
        batch.cancel()
        await asyncio.wait([batch])

    await run(scenario)


async def test_time_in_which_nobody_could_look_does_not_count(looks: Looks) -> None:
    """A process that was stopped for an hour has not stood still for one."""

    async def scenario() -> None:
        batch = asyncio.create_task(run_jobs([asyncio.Event().wait()], desc="one"))
        await turns()
        looks()
        looks()
        looks.now_s += 3600
        assert looks.still_s() == {"one": 1}
        assert looks.still_s() == {"one": 2}
        batch.cancel()
        await asyncio.wait([batch])

    await run(scenario)


async def test_a_copy_goes_on_from_there(looks: Looks) -> None:
    """Of two who look, each knows since when; a move is seen by both."""

    async def scenario() -> None:
        gate = asyncio.Event()
        batch = asyncio.create_task(run_jobs([gate.wait(), asyncio.Event().wait()], desc="two"))
        await turns()
        looks()
        looks()
        other = Looks()
        other.now_s, other.standing = looks.now_s, looks.standing.copy()
        assert looks.still_s() == other.still_s() == {"two": 2}
        gate.set()
        await turns()
        assert looks.still_s() == other.still_s() == {"two": 0}
        batch.cancel()
        await asyncio.wait([batch])

    await run(scenario)


async def test_a_batch_without_a_job_in_flight_may_rest(looks: Looks) -> None:
    """It waits for its input, or for who takes its outcomes; one with jobs in flight is to go on."""

    async def scenario() -> None:
        gate = asyncio.Event()

        async def items() -> AsyncIterator[int]:
            yield 1
            await gate.wait()

        async def job(_: object) -> None:
            await asyncio.sleep(0)

        batch = asyncio.create_task(async_map(job, items(), limit=2, desc="resting"))
        busy = asyncio.create_task(run_jobs([gate.wait()], desc="busy"))
        await turns()
        stands = looks()
        assert may_rest(stands["resting"].event)
        assert not may_rest(stands["busy"].event)
        gate.set()
        await asyncio.gather(batch, busy)

    await run(scenario)


async def test_what_the_caller_says_of_his_batch_goes_first(looks: Looks) -> None:
    """A number for a number, None for never; and nothing of it stays."""

    async def scenario() -> None:
        gate = asyncio.Event()
        batches = [
            asyncio.create_task(run_jobs([gate.wait()], desc="soon", stall_after=2)),
            asyncio.create_task(run_jobs([gate.wait()], desc="never", stall_after=None)),
            asyncio.create_task(run_jobs([gate.wait()], desc="usual")),
        ]
        await turns()
        limits = {name: stand.limit_s(30.0) for name, stand in looks().items()}
        assert limits == {"soon": 2.0, "never": None, "usual": 30.0}
        assert looks()["usual"].limit_s(None) is None
        gate.set()
        await asyncio.gather(*batches)
        assert STALL_AFTER == {}

    await run(scenario)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, True, "soon", ""])
def test_a_stall_time_is_above_zero(value: float) -> None:
    """What is allowed is said; the input is not touched."""
    with pytest.raises(ValueError, match="stall_after is a time above 0 s, None for never, or 'default'"):
        check_stall_after(value)
    pulled: list[int] = []

    async def job(number: int) -> None:
        pulled.append(number)

    with pytest.raises(ValueError, match="stall_after"):
        asyncio.run(async_map(job, range(3), stall_after=value))
    assert pulled == []
