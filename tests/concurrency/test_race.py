"""`race`: the first of several."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spanloom import race
from spanloom.testing import capture_events


async def after(turns: int, result: Any) -> Any:
    for _ in range(turns):
        await asyncio.sleep(0)
    if isinstance(result, BaseException):
        raise result
    return result


async def test_the_first_to_end_wins_and_the_others_have_ended() -> None:
    """The winner's result comes back after the losers have been cancelled and have cleaned up."""
    ended: list[str] = []

    async def loser() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(0)
            ended.append("loser")

    assert await race(loser(), after(3, "winner"), loser()) == "winner"
    assert ended == ["loser", "loser"]


@pytest.mark.parametrize("turns", [0, 1, 5])
async def test_of_several_in_one_turn_the_first_given_wins(turns: int) -> None:
    """Who ends first in a turn of the loop wins, and that is not chance."""
    for _ in range(20):
        assert await race(*[after(turns, number) for number in range(10)]) == 0


async def test_a_failure_wins_like_a_result() -> None:
    """first="completed" raises the winner's exception, the very object."""
    mine = ValueError("mine")
    with pytest.raises(ValueError) as caught:
        await race(after(9, "late"), after(1, mine))
    assert caught.value is mine


async def test_only_successes_count_on_request() -> None:
    """first="success" goes past failures to the first result, and None is one."""
    assert (
        await race(after(1, ValueError()), after(2, KeyError()), after(3, None), after(9, 1), first="success")
        is None
    )


async def test_if_all_fail_all_failures_are_raised() -> None:
    """first="success" without a success raises a group, in the order in which they came."""
    first, second = ValueError("first"), KeyError("second")
    with pytest.raises(ExceptionGroup, match="all 2 awaitables of the race failed") as caught:
        await race(after(4, second), after(1, first), first="success")
    assert caught.value.exceptions == (first, second)


async def test_a_cancelled_racer_ends_the_race_before_there_is_a_winner() -> None:
    """A racer that somebody cancels is not a loser: the race ends as cancelled."""
    task = asyncio.create_task(asyncio.sleep(5))
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await race(task, after(50, 1), first="success")


async def test_losers_end_as_cancelled_and_the_race_does_not() -> None:
    """In the events the winner and the race are ok, the losers cancelled."""
    with capture_events() as captured:
        await race(asyncio.sleep(5), after(1, 1))
    assert captured.tree() == (
        "batch sleep ok\n  job sleep #0 cancelled asyncio.exceptions.CancelledError\n  job after #1 ok"
    )


async def test_a_race_of_none_or_with_a_wrong_first_is_refused() -> None:
    """The messages say what is allowed."""
    with pytest.raises(ValueError, match="race needs at least one awaitable"):
        await race()
    job = after(0, 1)
    with pytest.raises(ValueError, match=r"first must be 'completed' or 'success' \(got 'last'\)"):
        await race(job, first="last")
    assert await job == 1
