"""limited: every asynchronous call of a client waits for a limiter, and whatever else it has is as it was."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from spanloom import AdaptiveLimiter, Cooldown, FixedLimiter, RateLimiter, limited, run_jobs
from spanloom.testing import capture_events


class Completions:
    def __init__(self) -> None:
        self.running = self.most = 0

    async def create(self, prompt: str, *, fail: bool = False) -> str:
        """Answer."""
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0.001)
            if fail:
                raise ValueError(prompt)
            return prompt.upper()
        finally:
            self.running -= 1

    async def stream(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    @asynccontextmanager
    async def session(self) -> AsyncIterator[str]:
        yield "session"

    def count(self) -> int:
        return self.most


class Chat:
    def __init__(self) -> None:
        self.completions = Completions()


class Client:
    api_key = "x"

    def __init__(self) -> None:
        self.chat = Chat()
        self.closed = False

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed = True

    def _private(self) -> str:
        return "as it was"


async def test_calls_wait_for_a_slot_at_any_depth() -> None:
    """No more at once than there are slots, results as without, and all slots come back."""
    limiter = FixedLimiter(3)
    client = Client()
    bounded = limited(client, limiter)
    results = await asyncio.gather(*[bounded.chat.completions.create(f"p{number}") for number in range(10)])
    assert results == [f"P{number}" for number in range(10)]
    assert client.chat.completions.most == bounded.chat.completions.count() == 3
    assert (limiter.in_use, limiter.waiting) == (0, 0)


async def test_what_is_raised_is_the_same_object_and_the_slot_comes_back() -> None:
    """An error of a call is an error of the call."""
    limiter = FixedLimiter(1)
    bounded = limited(Client(), limiter)
    with pytest.raises(ValueError, match="no"):
        await bounded.chat.completions.create("no", fail=True)
    assert limiter.in_use == 0


async def test_a_stream_holds_its_slot_until_it_ends_or_is_closed() -> None:
    """Exhausted, or left early and closed."""
    limiter = FixedLimiter(1)
    bounded = limited(Client(), limiter)
    numbers = [number async for number in bounded.chat.completions.stream(3)]
    assert (numbers, limiter.in_use) == ([0, 1, 2], 0)
    stream: Any = bounded.chat.completions.stream(3)
    async for _ in stream:
        assert limiter.in_use == 1
        break
    await stream.aclose()
    assert limiter.in_use == 0


async def test_a_block_holds_its_slot_until_it_ends() -> None:
    """An async context manager that a call returns."""
    limiter = FixedLimiter(1)
    async with limited(Client(), limiter).chat.completions.session() as session:
        assert (session, limiter.in_use) == ("session", 1)
    assert limiter.in_use == 0


async def test_the_rest_is_as_it_was() -> None:
    """Class, values, private names, signatures, ``async with``; the client itself is not changed."""
    client = Client()
    limiter = FixedLimiter(1)
    bounded = limited(client, limiter)
    assert isinstance(bounded, Client)
    assert bounded.api_key == "x"
    assert bounded._private() == "as it was"
    assert inspect.iscoroutinefunction(client.chat.completions.create)
    assert inspect.signature(bounded.chat.completions.create) == inspect.signature(
        client.chat.completions.create
    )
    assert bounded.chat.completions.create.__doc__ == "Answer."
    async with bounded as entered:
        assert entered is bounded
    assert client.closed
    bounded.api_key = "y"
    assert client.api_key == "y"


async def test_a_call_cancelled_while_it_waits_has_not_started() -> None:
    """And is closed, so that Python does not warn of it."""
    limiter = FixedLimiter(1)
    client = Client()
    assert limiter.try_acquire()
    call = asyncio.create_task(limited(client, limiter).chat.completions.create("p"))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert client.chat.completions.most == 0
    limiter.release()
    assert limiter.in_use == 0


class Request(Coroutine[Any, Any, str]):
    """What aiohttp's requests are: a coroutine, to be awaited or to be entered."""

    def __init__(self, work: Coroutine[Any, Any, str]) -> None:
        self._work = work

    def send(self, value: Any) -> Any:
        return self._work.send(value)

    def throw(self, *raised: Any) -> Any:
        return self._work.throw(*raised)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, str]:
        return self._work.__await__()

    async def __aenter__(self) -> str:
        return await self._work

    async def __aexit__(self, *raised: object) -> None: ...


class Session:
    async def _request(self) -> str:
        return "response"

    def get(self) -> Request:
        return Request(self._request())


@pytest.mark.parametrize("how", ["awaited", "entered"])
async def test_a_request_cancelled_while_it_waits_is_closed(how: str) -> None:
    """Its coroutine has never started, and Python does not warn of it."""
    limiter = FixedLimiter(1)
    session = limited(Session(), limiter)

    async def get() -> str:
        if how == "awaited":
            return await session.get()
        async with session.get() as response:
            return response

    assert await get() == "response"
    assert limiter.try_acquire()
    call = asyncio.create_task(get())
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    del call
    gc.collect()


async def test_a_batch_of_limited_calls_is_called_by_what_they_are_of_and_closes_those_it_does_not_start() -> (
    None
):
    """Python would warn of each call that a failure, or a `close`, has kept from being started."""
    create = limited(Client(), FixedLimiter(1)).chat.completions.create
    with capture_events() as captured, pytest.raises(ValueError, match="p 0"):
        await run_jobs([create(f"p {number}", fail=True) for number in range(9)], workers=2)
    assert {(str(event.type), event.name) for event in captured.events if event.type != "slot_wait"} == {
        ("batch", "Completions.create"),
        ("job", "Completions.create"),
    }
    create("never awaited").close()
    gc.collect()


async def test_a_function_can_be_limited() -> None:
    """The client may be one asynchronous function."""
    limiter = FixedLimiter(1)
    completions = Completions()
    create = limited(completions.create, limiter)
    assert await asyncio.gather(create("a"), create("b")) == ["A", "B"]
    assert completions.most == 1


class Pages:
    """What openai's lists are: to be awaited for the first page, or iterated over for all items."""

    has_more = True

    def __await__(self) -> Generator[Any, Any, str]:
        return self._first().__await__()

    async def _first(self) -> str:
        await asyncio.sleep(0)
        return "first page"

    async def __aiter__(self) -> AsyncIterator[int]:
        for number in range(3):
            yield number


class Lister:
    def list(self) -> Pages:
        return Pages()


async def test_what_can_be_awaited_or_iterated_over_still_can() -> None:
    """Both ways hold a slot, and its attributes are there."""
    limiter = FixedLimiter(1)
    bounded = limited(Lister(), limiter)
    assert await bounded.list() == "first page"
    numbers = []
    async for number in bounded.list():
        assert limiter.in_use == 1
        numbers.append(number)
    assert (numbers, limiter.in_use) == ([0, 1, 2], 0)
    assert bounded.list().has_more


async def test_a_limiter_learns_from_the_calls() -> None:
    """A real httpx client that is refused once: one pause for all, and then they go on."""
    starts: list[float] = []
    loop = asyncio.get_running_loop()

    async def answer(request: httpx.Request) -> httpx.Response:
        starts.append(loop.time())
        await asyncio.sleep(0.01)
        return httpx.Response(429 if len(starts) <= 3 else 200)

    async def check(response: httpx.Response) -> None:
        response.raise_for_status()

    cooldown = Cooldown(AdaptiveLimiter(), pause_s=0.1, slow_start_items=0)
    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, event_hooks={"response": [check]}) as client:
        bounded = limited(client, cooldown)
        first = await asyncio.gather(*[bounded.get("http://x/") for _ in range(3)], return_exceptions=True)
        assert all(isinstance(error, httpx.HTTPStatusError) for error in first)
        second = await asyncio.gather(*[bounded.get("http://x/") for _ in range(3)])
    assert [response.status_code for response in second] == [200, 200, 200]
    assert cooldown.generation == 1
    assert min(starts[3:]) - max(starts[:3]) >= 0.1


async def test_a_rate_holds_starts_back() -> None:
    """Any limiter that knows ``async with`` will do."""
    bounded = limited(Client(), RateLimiter(2, 0.05))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*[bounded.chat.completions.create("p") for _ in range(3)])
    assert loop.time() - began >= 0.05


def test_a_number_is_refused() -> None:
    """The message says what to give."""
    with pytest.raises(TypeError, match=r"not int; for a number, FixedLimiter\(n\)"):
        limited(Client(), 3)  # type: ignore[type-var]  # what is wrong with it is tested
