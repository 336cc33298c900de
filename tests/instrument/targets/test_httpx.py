"""httpx and httpx2: requests, redirects, streams, errors and cancels against a server on this machine."""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import httpx2
import pytest

from spanloom import async_map, current_event, uninstrument
from spanloom.testing import EventCapture
from tests.instrument.targets.patching import patched
from tests.instrument.targets.web import NAMED, address, payloads, tree


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    """One of the two libraries."""
    return request.param


@pytest.fixture
def captured(library: types.ModuleType) -> Iterator[EventCapture]:
    """The events while the library is patched."""
    with patched(library.__name__) as captured:
        yield captured


async def test_a_request_is_an_event_with_host_and_status(
    library: Any, captured: EventCapture, site: str
) -> None:
    """Method, host and status are attached, and nothing of the rest of the URL or of the headers."""
    async with library.AsyncClient() as client:
        response = await client.get(f"{site}/page?secret=1", headers={"X-Secret": "2"})
    assert response.text == "hello"
    assert tree(captured, site) == "request GET site ok"
    assert payloads(captured) == [{"method": "GET", **address(site), "status_code": 200}]


@pytest.mark.parametrize(
    ("url", "name", "port"),
    [
        *NAMED,
        ("http://[2001:DB8::0001]:81/", "GET [2001:db8::1]:81", 81),
        ("http://www.b\u00fccher.example/", "GET www.xn--bcher-kva.example", None),
        ("http://a b/", "GET (other hosts)", None),
    ],
)
def test_a_request_is_named_for_its_method_and_host(
    library: Any, captured: EventCapture, url: str, name: str, port: int | None
) -> None:
    """The host as it goes over the wire, with a port that is not the scheme's; nothing else of the URL is anywhere."""
    with library.Client(transport=library.MockTransport(lambda request: library.Response(200))) as client:
        client.get(url)
    (event,) = captured.events
    assert event.name == name
    assert event.payload.get("server_port") == port
    told = repr((event.name, dict(event.payload)))
    assert not any(secret in told for secret in ("secret", "users", "user", "p@ss", "part"))


def test_the_synchronous_client_is_seen_as_well(library: Any, captured: EventCapture, site: str) -> None:
    """A `Client`, and the functions of the module that use one, make the same events."""
    assert library.post(f"{site}/page").text == "hello"
    with library.Client(base_url=site) as client, client.stream("GET", "/page") as response:
        assert tree(captured, site) == "request POST site ok\nrequest GET site open"
        assert response.read() == b"hello"
    assert tree(captured, site) == "request POST site ok\nrequest GET site ok"


async def test_a_refusal_is_no_error_and_says_how_long_to_wait(
    library: Any, captured: EventCapture, site: str
) -> None:
    """A response is a response: its status and its Retry-After are attached, and the request has ended well."""
    async with library.AsyncClient() as client:
        await client.get(f"{site}/busy")
    assert tree(captured, site) == "request GET site ok"
    assert payloads(captured) == [
        {"method": "GET", **address(site), "status_code": 429, "retry_after_s": 7.0}
    ]


async def test_redirects_are_part_of_the_request(library: Any, captured: EventCapture, site: str) -> None:
    """A request that is redirected is one event, which says how often it was."""
    async with library.AsyncClient(follow_redirects=True) as client:
        assert (await client.get(f"{site}/moved?secret=1")).text == "hello"
    assert payloads(captured) == [{"method": "GET", **address(site), "status_code": 200, "redirects": 1}]


async def test_a_stream_ends_when_it_has_been_read(library: Any, captured: EventCapture, site: str) -> None:
    """The event of a streamed response is open while it is read, and is nobody's parent."""
    async with library.AsyncClient() as client, client.stream("GET", f"{site}/page") as response:
        assert tree(captured, site) == "request GET site open"
        assert current_event() is None
        assert [part async for part in response.aiter_bytes()] == [b"hello"]
        assert tree(captured, site) == "request GET site ok"


async def test_a_stream_that_breaks_off_has_its_error(
    library: Any, captured: EventCapture, site: str
) -> None:
    """The error of the connection, not what its reader makes of it, ends the event of a stream."""
    with pytest.raises(library.RemoteProtocolError):
        async with library.AsyncClient() as client, client.stream("GET", f"{site}/cut") as response:
            await response.aread()
    assert tree(captured, site) == f"request GET site error {library.__name__}.RemoteProtocolError"


async def test_an_error_of_the_reader_is_not_one_of_the_request(
    library: Any, captured: EventCapture, site: str
) -> None:
    """A stream that is left because its reader failed was closed early, and that is all."""
    with pytest.raises(KeyError):
        async with library.AsyncClient() as client, client.stream("GET", f"{site}/stuck"):
            raise KeyError("mine")
    assert tree(captured, site) == "request GET site ok"


async def test_an_older_error_is_not_one_of_the_request(
    library: Any, captured: EventCapture, site: str
) -> None:
    """A stream that is read while an error of another request is handled ends well."""
    async with library.AsyncClient() as client:
        try:
            await client.get("http://127.0.0.1:1/")
        except library.ConnectError:
            async with client.stream("GET", f"{site}/page") as response:
                await response.aread()
    assert tree(captured, site) == (
        f"request GET 127.0.0.1:1 error {library.__name__}.ConnectError\nrequest GET site ok"
    )


async def test_a_stream_that_is_dropped_ends_its_event(
    library: Any, captured: EventCapture, site: str
) -> None:
    """A response that nobody closes ends its event as cancelled when it is collected."""
    async with library.AsyncClient() as client:
        response = await client.send(client.build_request("GET", f"{site}/stuck"), stream=True)
        assert tree(captured, site) == "request GET site open"
        del response
        gc.collect()
        assert tree(captured, site) == "request GET site cancelled GeneratorExit"


async def test_a_stream_that_is_dropped_while_an_error_is_handled_goes(
    library: Any, captured: EventCapture, site: str
) -> None:
    """An error that was there when the request began, whose frames know the response, does not keep it alive."""

    async def ask(client: Any) -> None:
        try:
            raise KeyError
        except KeyError:
            response = await client.send(client.build_request("GET", f"{site}/stuck"), stream=True)
            assert response.status_code == 200

    async with library.AsyncClient() as client:
        await ask(client)
        gc.collect()
        assert tree(captured, site) == "request GET site cancelled GeneratorExit"


async def test_errors_keep_their_type(library: Any, captured: EventCapture, site: str) -> None:
    """A connection that fails and a timeout are raised on, the same object, and end their events."""
    async with library.AsyncClient(timeout=0.3) as client:
        with pytest.raises(library.ConnectError):
            await client.get("http://127.0.0.1:1/?secret=1")
        with pytest.raises(library.ReadTimeout):
            await client.get(f"{site}/silent?secret=1")
    name = library.__name__
    assert tree(captured, site) == (
        f"request GET 127.0.0.1:1 error {name}.ConnectError\nrequest GET site error {name}.ReadTimeout"
    )
    assert "secret" not in repr([event.error for event in captured.events])


def test_errors_of_the_synchronous_client_keep_their_type(
    library: Any, captured: EventCapture, site: str
) -> None:
    """A connection that fails and a stream that breaks off end their events as those of the other client do."""
    with library.Client() as client:
        with pytest.raises(library.ConnectError):
            client.get("http://127.0.0.1:1/")
        with pytest.raises(library.RemoteProtocolError), client.stream("GET", f"{site}/cut") as response:
            response.read()
    name = library.__name__
    assert tree(captured, site) == (
        f"request GET 127.0.0.1:1 error {name}.ConnectError\nrequest GET site error {name}.RemoteProtocolError"
    )


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_body_that_cannot_be_closed_has_that_error(
    library: Any, captured: EventCapture, asynchronous: bool
) -> None:
    """What a transport raises when its response is closed ends the event and is raised on."""
    error = OSError("cannot close")

    class Body(library.AsyncByteStream, library.SyncByteStream):  # type: ignore[misc]  # one of two libraries
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"hello"

        def __iter__(self) -> Iterator[bytes]:
            yield b"hello"

        async def aclose(self) -> None:
            raise error

        def close(self) -> None:
            raise error

    transport = library.MockTransport(lambda request: library.Response(200, stream=Body()))
    with pytest.raises(OSError, match="cannot close") as raised:
        if asynchronous:
            async with library.AsyncClient(transport=transport) as client, client.stream("GET", "http://a/"):
                pass
        else:
            with library.Client(transport=transport) as client, client.stream("GET", "http://a/"):
                pass
    assert raised.value is error
    assert captured.tree() == "request GET a error OSError"


async def test_responses_may_be_of_any_class(library: Any, captured: EventCapture) -> None:
    """A response of the program's own class, equal to every other one and without a hash, is told from others."""

    class Same(library.Response):  # type: ignore[misc]  # one of two libraries
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # on purpose

    transport = library.MockTransport(lambda request: Same(200, text=request.url.path))
    async with (
        library.AsyncClient(transport=transport) as client,
        client.stream("GET", "http://a/1") as first,
        client.stream("POST", "http://a/2") as second,
    ):
        assert (await second.aread(), await first.aread()) == (b"/2", b"/1")
    assert captured.tree() == "request GET a ok\nrequest POST a ok"


async def test_a_cancel_is_a_cancel(library: Any, captured: EventCapture, site: str) -> None:
    """A request and a stream whose task is cancelled end as cancelled."""

    async def request() -> None:
        async with library.AsyncClient() as client:
            await client.get(f"{site}/silent")

    async def stream() -> None:
        async with library.AsyncClient() as client, client.stream("GET", f"{site}/stuck") as response:
            await response.aread()

    for function in (request, stream):
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


async def test_requests_stand_under_their_jobs(library: Any, captured: EventCapture, site: str) -> None:
    """The parent of a request is the job that makes it, whichever of them runs at the same time."""
    async with library.AsyncClient() as client:

        async def fetch(path: str) -> int:
            return (await client.get(site + path)).status_code

        assert await async_map(fetch, ["/page", "/none", "/page"], limit=3) == [200, 404, 200]
    found = {
        event.job_index: event.payload["status_code"] for event in captured.events if event.type == "request"
    }
    assert found == {0: 200, 1: 404, 2: 200}


async def test_a_library_that_is_not_patched_any_more_makes_no_events(
    library: Any, captured: EventCapture, site: str
) -> None:
    """After `uninstrument`, a client that was made before makes no event."""
    async with library.AsyncClient() as client:
        await client.get(f"{site}/page")
        uninstrument(library.__name__)
        await client.get(f"{site}/page")
    assert tree(captured, site) == "request GET site ok"
    assert type(library.AsyncClient.__dict__["send"]) is types.FunctionType
