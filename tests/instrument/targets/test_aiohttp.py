"""aiohttp: requests, redirects, bodies, errors and cancels against a server on this machine."""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import AsyncIterator, Iterator

import aiohttp
import aiohttp.abc
import aiohttp.web
import pytest

from spanloom import async_map, current_event, uninstrument
from spanloom.instrument import harmless
from spanloom.testing import EventCapture
from tests.instrument.targets.patching import patched
from tests.instrument.targets.web import NAMED, address, payloads, tree


@pytest.fixture
def captured() -> Iterator[EventCapture]:
    """The events while aiohttp is patched."""
    with patched("aiohttp") as captured:
        yield captured


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session."""
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_request_is_an_event_with_host_and_status(
    captured: EventCapture, session: aiohttp.ClientSession, site: str
) -> None:
    """Method, host and status are attached, and nothing of the rest of the URL or of the headers."""
    async with session.get(f"{site}/page?secret=1", headers={"X-Secret": "2"}) as response:
        assert current_event() is None
        assert await response.text() == "hello"
    assert tree(captured, site) == "request GET site ok"
    assert payloads(captured) == [{"method": "GET", **address(site), "status_code": 200}]


class Nowhere(aiohttp.abc.AbstractResolver):
    """Knows no host."""

    async def resolve(self, *_: object, **__: object) -> list[aiohttp.abc.ResolveResult]:
        raise OSError("no such host")

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("url", "name", "port"),
    [
        *NAMED,
        ("http://[::0001]:1/", "GET [::1]:1", 1),
    ],
)
async def test_a_request_is_named_for_its_method_and_host(
    captured: EventCapture, url: str, name: str, port: int | None
) -> None:
    """The host as it goes over the wire, with a port that is not the scheme's; nothing else of the URL is anywhere."""
    connector = aiohttp.TCPConnector(resolver=Nowhere())
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)
    (event,) = captured.events
    assert event.name == name
    assert event.payload.get("server_port") == port
    told = repr((event.name, dict(event.payload)))
    assert not any(secret in told for secret in ("secret", "users", "user", "p@ss", "part"))


async def test_an_address_may_be_that_of_the_session(captured: EventCapture, site: str) -> None:
    """The host of a relative address is that of the session's base URL."""
    async with aiohttp.ClientSession(site) as session:
        assert await (await session.post("/page")).read() == b"hello"
    assert tree(captured, site) == "request POST site ok"
    assert payloads(captured) == [{"method": "POST", **address(site), "status_code": 200}]


async def test_a_refusal_is_no_error_and_says_how_long_to_wait(
    captured: EventCapture, session: aiohttp.ClientSession, site: str
) -> None:
    """Status and Retry-After are attached to a request that has ended well."""
    async with session.get(f"{site}/busy"):
        pass
    assert tree(captured, site) == "request GET site ok"
    assert payloads(captured) == [
        {"method": "GET", **address(site), "status_code": 429, "retry_after_s": 7.0}
    ]


async def test_a_refusal_that_is_raised_is_an_error(
    captured: EventCapture, session: aiohttp.ClientSession, site: str
) -> None:
    """With ``raise_for_status`` the request itself fails, and what the server said is attached all the same."""
    with pytest.raises(aiohttp.ClientResponseError):
        await session.get(f"{site}/none", raise_for_status=True)
    assert tree(captured, site) == "request GET site error aiohttp.client_exceptions.ClientResponseError"
    with pytest.raises(aiohttp.ClientResponseError):
        await session.get(f"{site}/busy", raise_for_status=True)
    assert payloads(captured) == [
        {"method": "GET", **address(site), "status_code": 404},
        {"method": "GET", **address(site), "status_code": 429, "retry_after_s": 7.0},
    ]


async def test_an_error_that_cannot_be_asked_is_raised_all_the_same(
    captured: EventCapture, session: aiohttp.ClientSession, site: str
) -> None:
    """An error of the program whose own properties fail is not replaced by what they raise."""

    class UnfriendlyError(Exception):
        @property
        def status(self) -> int:
            raise RuntimeError("do not ask")

    async def refuse(response: aiohttp.ClientResponse) -> None:
        raise UnfriendlyError

    with pytest.raises(UnfriendlyError):
        await session.get(f"{site}/page", raise_for_status=refuse)
    assert tree(captured, site).startswith("request GET site error ")
    assert tree(captured, site).endswith("UnfriendlyError")


async def test_an_address_that_is_none_is_told_by_aiohttp_alone(
    captured: EventCapture,
    session: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is wrong with its version: no warning says that it is another one than we know."""
    monkeypatch.setattr(harmless, "_told", set())
    for url in (3, "http://[::1"):
        with pytest.raises((TypeError, aiohttp.InvalidURL)):
            await session.get(url)  # type: ignore[arg-type]  # on purpose
    assert captured.events == []
    assert caplog.records == []


async def test_redirects_are_part_of_the_request(
    captured: EventCapture, session: aiohttp.ClientSession, site: str
) -> None:
    """A request that is redirected is one event, which says how often it was."""
    async with session.get(f"{site}/moved?secret=1") as response:
        assert await response.text() == "hello"
    assert payloads(captured) == [{"method": "GET", **address(site), "status_code": 200, "redirects": 1}]


async def test_a_body_that_is_not_read_ends_with_its_block(
    captured: EventCapture, session: aiohttp.ClientSession, site: str
) -> None:
    """The event is open while the body is to come, and ends when the response is released."""
    async with session.get(f"{site}/stuck") as response:
        assert await response.content.read(5) == b"hello"
        assert tree(captured, site) == "request GET site open"
    assert tree(captured, site) == "request GET site ok"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_that_breaks_off_has_its_error(
    captured: EventCapture, session: aiohttp.ClientSession, site: str, streamed: bool
) -> None:
    """The error of the connection ends the event, whether the body is read at once or in parts."""
    with pytest.raises(aiohttp.ClientPayloadError):
        async with session.get(f"{site}/cut") as response:
            if streamed:
                async for _ in response.content.iter_any():
                    pass
            else:
                await response.read()
    assert tree(captured, site) == "request GET site error aiohttp.client_exceptions.ClientPayloadError"


async def test_an_error_of_the_reader_is_not_one_of_the_request(
    captured: EventCapture, session: aiohttp.ClientSession, site: str
) -> None:
    """A response whose reader fails was released early, and that is all."""
    with pytest.raises(KeyError):
        async with session.get(f"{site}/stuck"):
            raise KeyError("mine")
    assert tree(captured, site) == "request GET site ok"


async def test_a_response_that_is_dropped_ends_its_event(
    captured: EventCapture, session: aiohttp.ClientSession, site: str
) -> None:
    """A response that nobody closes keeps its connection and its event until the session is closed."""
    await session.get(f"{site}/stuck")
    gc.collect()
    assert tree(captured, site) == "request GET site open"
    await session.close()
    for _ in range(1000):
        gc.collect()
        if not captured.open:
            break
        await asyncio.sleep(0.001)
    assert tree(captured, site) == "request GET site cancelled GeneratorExit"


async def test_errors_keep_their_type(
    captured: EventCapture, session: aiohttp.ClientSession, site: str
) -> None:
    """A connection that fails and a timeout are raised on, and end their events."""
    with pytest.raises(aiohttp.ClientConnectorError):
        await session.get("http://127.0.0.1:1/?secret=1")
    with pytest.raises(TimeoutError):
        await session.get(f"{site}/silent?secret=1", timeout=aiohttp.ClientTimeout(total=0.05))
    with pytest.raises(TimeoutError):
        async with session.get(f"{site}/stuck", timeout=aiohttp.ClientTimeout(total=0.05)) as response:
            await response.read()
    assert tree(captured, site) == (
        "request GET 127.0.0.1:1 error aiohttp.client_exceptions.ClientConnectorError\n"
        "request GET site timeout TimeoutError\n"
        "request GET site timeout TimeoutError"
    )
    assert "secret" not in repr([event.error for event in captured.events])


async def test_a_cancel_is_a_cancel(
    captured: EventCapture, session: aiohttp.ClientSession, site: str
) -> None:
    """A request, and the reading of a body, whose task is cancelled end as cancelled."""

    async def request() -> None:
        await session.get(f"{site}/silent")

    async def read() -> None:
        async with session.get(f"{site}/stuck") as response:
            await response.read()

    for function in (request, read):
        task = asyncio.create_task(function())
        while not captured.open:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert tree(captured, site) == "\n".join(
        ["request GET site cancelled asyncio.exceptions.CancelledError"] * 2
    )


async def test_the_handshake_of_a_websocket_is_a_request(
    captured: EventCapture, session: aiohttp.ClientSession
) -> None:
    """What a WebSocket begins with is a request, which is over when the connection has become one."""

    async def echo(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    app = aiohttp.web.Application()
    app.router.add_get("/", echo)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    site = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with session.ws_connect(f"{site}/") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            assert tree(captured, site) == "request GET site ok"
            assert current_event() is None
    finally:
        await runner.cleanup()
    assert captured.events[0].payload["status_code"] == 101


async def test_requests_stand_under_their_jobs(
    captured: EventCapture, session: aiohttp.ClientSession, site: str
) -> None:
    """The parent of a request is the job that makes it, whichever of them runs at the same time."""

    async def fetch(path: str) -> int:
        async with session.get(site + path) as response:
            return response.status

    assert await async_map(fetch, ["/page", "/none", "/page"], limit=3) == [200, 404, 200]
    found = {
        event.job_index: event.payload["status_code"] for event in captured.events if event.type == "request"
    }
    assert found == {0: 200, 1: 404, 2: 200}


async def test_a_session_that_was_made_before_is_seen_until_it_is_not(
    session: aiohttp.ClientSession, site: str
) -> None:
    """A session makes events while aiohttp is patched, whenever it was made, and none after `uninstrument`."""
    with patched("aiohttp") as captured:
        await (await session.get(f"{site}/page")).read()
        uninstrument("aiohttp")
        await (await session.get(f"{site}/page")).read()
    assert tree(captured, site) == "request GET site ok"
    assert type(aiohttp.ClientSession.__dict__["_request"]) is types.FunctionType
