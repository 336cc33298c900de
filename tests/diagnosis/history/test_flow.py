"""The ways through a suspended frame: loops, ways out, cancels that are caught, pauses between tries."""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from types import FrameType, MappingProxyType
from typing import Any

import pytest

from spanloom.diagnosis.history.flow import Flow, Outcome, flow_of

Body = Callable[[], Coroutine[Any, Any, object]]


@types.coroutine
def stop() -> Generator[None, None, bool]:
    """Suspend whoever awaits it."""
    yield
    return True


class RefusedError(Exception):
    """What calls of these programs fail with."""


async def refuse() -> bool:
    raise RefusedError


def suspended(body: Body) -> tuple[Flow, FrameType]:
    """Return the flow and the frame of a coroutine that has run to its first `stop`."""
    coroutine = body()
    coroutine.send(None)
    frame = coroutine.cr_frame
    assert isinstance(frame, FrameType)
    kept.append(coroutine)
    return flow_of(frame.f_code), frame


kept: list[Coroutine[Any, Any, object]] = []
is_open = [True]
"""Empty when those that catch everything are to end."""


@pytest.fixture(autouse=True)
def _close() -> Generator[None]:
    yield
    is_open.clear()
    while kept:
        kept.pop().close()
    is_open.append(True)


async def straight() -> None:
    await stop()


async def endless() -> None:
    while True:
        await stop()


async def bounded() -> None:
    for _ in range(3):
        await stop()


async def over_items() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1

    async for _ in items():
        await stop()


@pytest.mark.parametrize(
    ("body", "turns", "can_return"),
    [(straight, False, True), (endless, True, False), (bounded, True, True), (over_items, True, True)],
)
def test_a_loop_is_told_from_a_line_and_a_way_out_from_none(
    body: Body, turns: bool, can_return: bool
) -> None:
    """Whether a frame can come back to where it is, and whether it can ever return, is read off its code."""
    flow, frame = suspended(body)
    assert (flow.turns(frame.f_lasti), flow.can_return(frame.f_lasti)) == (turns, can_return)


async def catches_all() -> None:
    while is_open:
        try:
            await stop()
        except:  # noqa: E722 -- the mistake that is to be found
            pass


async def catches_cancel_in_a_tuple() -> None:
    while True:
        try:
            await stop()
        except (ValueError, asyncio.CancelledError):
            continue


async def suppresses() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await stop()


async def catches_errors() -> None:
    while True:
        try:
            await stop()
        except Exception:
            pass


async def raises_again() -> None:
    while is_open:
        try:
            await stop()
        except asyncio.CancelledError:
            raise
        except BaseException:
            pass


async def words() -> AsyncIterator[str]:
    await stop()
    yield ""


async def catches_around_an_iteration() -> None:
    while True:
        try:
            async for _ in words():
                pass
        except asyncio.CancelledError:
            pass


async def iterates() -> None:
    while True:
        async for _ in words():
            pass


async def catches_and_returns() -> None:
    try:
        while True:
            await stop()
    except asyncio.CancelledError:
        return


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (straight, Outcome.LEAVES),
        (endless, Outcome.LEAVES),
        (catches_errors, Outcome.LEAVES),
        (raises_again, Outcome.LEAVES),
        (catches_all, Outcome.GOES_ON | Outcome.RETURNS),
        (catches_cancel_in_a_tuple, Outcome.GOES_ON),
        (catches_and_returns, Outcome.RETURNS),
        (catches_around_an_iteration, Outcome.GOES_ON),
        (iterates, Outcome.LEAVES),
    ],
)
def test_a_cancel_is_followed_through_the_handlers(body: Body, outcome: Outcome) -> None:
    """Bare, broad and narrow handlers are told apart by the classes that they name, and by what they do then."""
    flow, frame = suspended(body)
    names = MappingProxyType(frame.f_globals)
    assert flow.thrown(frame.f_lasti, names, blocks_may_catch=False) == outcome


def test_a_block_catches_only_if_it_is_taken_to() -> None:
    """What the end of a `with` block returns is not in the code, so the caller has to say whether it may be true."""
    flow, frame = suspended(suppresses)
    names = MappingProxyType(frame.f_globals)
    assert flow.thrown(frame.f_lasti, names, blocks_may_catch=False) == Outcome.LEAVES
    assert flow.thrown(frame.f_lasti, names) & Outcome.GOES_ON


async def pauses_in_the_handler() -> bool:
    while True:
        try:
            return await refuse()
        except RefusedError:
            await stop()


async def pauses_after_it() -> bool:
    for _ in range(5):
        try:
            return await refuse()
        except RefusedError:
            pass
        await stop()
    return False


async def pauses_before_it() -> bool:
    for attempt in range(5):
        try:
            if attempt:
                raise AssertionError
            return await refuse()
        except RefusedError:
            pass
        await stop()
    return False


async def polls() -> None:
    while True:
        with contextlib.suppress(RefusedError):
            await refuse()
        await stop()


async def works() -> None:
    while True:
        try:
            await stop()
        except RefusedError:
            continue


@pytest.mark.parametrize(
    ("body", "pauses"),
    [
        (pauses_in_the_handler, True),
        (pauses_after_it, True),
        (pauses_before_it, True),
        (polls, False),
        (works, False),
        (endless, False),
    ],
)
def test_a_pause_between_tries_is_told_from_other_waits(body: Body, pauses: bool) -> None:
    """A frame that comes to its place again only when something else fails pauses between tries."""
    flow, frame = suspended(body)
    assert flow.pauses_between_tries(frame.f_lasti) is pauses


async def drains() -> None:
    draining = False
    while not draining:
        try:
            await stop()
        except asyncio.CancelledError:
            draining = True


async def drains_an_iteration() -> None:
    draining = False
    while not draining:
        try:
            async for _ in words():
                pass
        except asyncio.CancelledError:
            draining = True


async def counts() -> int:
    errors = 0
    while is_open:
        try:
            await stop()
        except BaseException:
            errors += 1


async def counts_for_its_result() -> int:
    errors = 0
    while True:
        try:
            if await stop() == 0:
                return errors
        except asyncio.CancelledError:
            errors += 1


@pytest.mark.parametrize(
    ("body", "takes_note"),
    [
        (drains, True),
        (drains_an_iteration, True),
        (counts, False),
        (counts_for_its_result, False),
        (catches_all, False),
    ],
)
def test_a_handler_that_takes_note_of_a_cancel_is_known(body: Body, takes_note: bool) -> None:
    """What the handler stores and the loop reads is a note; a count that only the handler reads is none.

    Nor is one that is returned in the end.
    """
    flow, frame = suspended(body)
    assert flow.takes_note(frame.f_lasti, MappingProxyType(frame.f_globals)) is takes_note
