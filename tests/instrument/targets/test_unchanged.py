"""What programs can see of themselves is the same, whether the libraries that they use are patched or not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import backoff
import httpx
import pytest
import stamina
import tenacity

from spanloom import CallbackManager, instrument, uninstrument, use_callback_manager
from tests.instrument.targets.flaky import Flaky
from tests.instrument.targets.observing import observe, stack_of
from tests.instrument.targets.patching import patched
from tests.instrument.targets.web import tree, web


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of a web server."""
    with web() as address:
        yield address


def tenacity_programs() -> list[Callable[[], Any]]:
    twice: dict[str, Any] = {"wait": tenacity.wait_none(), "stop": tenacity.stop_after_attempt(2)}

    @tenacity.retry(**twice)
    async def given_up() -> None:
        raise ConnectionError("no")

    @tenacity.retry(reraise=True, **twice)
    async def raised_again() -> None:
        raise ConnectionError("no")

    @tenacity.retry(**twice)
    def synchronous() -> None:
        raise ConnectionError("no")

    async def looped() -> None:
        async for attempt in tenacity.AsyncRetrying(**twice):
            with attempt:
                raise ConnectionError("no")

    async def looped_synchronously() -> int:
        for attempt in tenacity.Retrying(**twice):
            with attempt:
                return flaky()
        raise AssertionError

    async def in_thread() -> Any:
        return await asyncio.to_thread(synchronous)

    async def bad_callback() -> Any:
        return await tenacity.AsyncRetrying(before=lambda state: 1 / 0)(given_up)

    flaky = Flaky(2)
    return [given_up, raised_again, looped, looped_synchronously, in_thread, bad_callback]


def stamina_programs() -> list[Callable[[], Any]]:
    @stamina.retry(on=ConnectionError, attempts=2, wait_initial=0, wait_jitter=0)
    async def given_up() -> None:
        raise ConnectionError("no")

    @stamina.retry(on=ConnectionError, wait_initial=0, wait_jitter=0)
    async def not_retried() -> None:
        raise KeyError("no")

    @stamina.retry(on=ConnectionError, wait_initial=0, wait_jitter=0)
    async def numbers() -> Any:
        yield flaky()

    async def generated() -> Any:
        return [number async for number in numbers()]

    async def called() -> Any:
        caller = stamina.AsyncRetryingCaller(attempts=2, wait_initial=0, wait_jitter=0)
        return await caller(ConnectionError, asyncio.sleep, 0, 5)

    async def switched_off() -> Any:
        stamina.set_active(False)
        try:
            return await given_up()
        finally:
            stamina.set_active(True)

    flaky = Flaky(2)
    stamina.instrumentation.set_on_retry_hooks([])
    return [given_up, not_retried, generated, called, switched_off]


def backoff_programs() -> list[Callable[[], Any]]:
    options: dict[str, Any] = {"interval": 0, "jitter": None, "max_tries": 2, "logger": None}

    @backoff.on_exception(backoff.constant, ConnectionError, **options)
    async def given_up() -> None:
        raise ConnectionError("no")

    @backoff.on_exception(backoff.constant, ConnectionError, raise_on_giveup=False, **options)
    async def silent() -> None:
        raise ConnectionError("no")

    @backoff.on_predicate(backoff.constant, **options)
    async def unwanted() -> int:
        return 0

    async def bad_handler(details: Any) -> None:
        raise ZeroDivisionError

    @backoff.on_exception(backoff.constant, ConnectionError, on_backoff=bad_handler, **options)
    async def badly_handled() -> None:
        raise ConnectionError("no")

    async def wrong_arguments() -> Any:
        return backoff.on_exception(backoff.constant)  # type: ignore[call-arg]  # on purpose

    return [given_up, silent, unwanted, badly_handled, wrong_arguments]


def web_programs(site: str) -> list[Callable[[], Any]]:
    async def page_by_httpx() -> Any:
        async with httpx.AsyncClient() as client:
            response = await client.get(f"{site}/page")
        return response.text, response.elapsed.total_seconds() >= 0, [type(response.stream).__name__]

    async def refused_by_httpx() -> Any:
        async with httpx.AsyncClient() as client:
            return await client.get("http://127.0.0.1:1/")

    async def cut_by_httpx() -> Any:
        async with httpx.AsyncClient() as client, client.stream("GET", f"{site}/cut") as response:
            return [part async for part in response.aiter_bytes()]

    async def closed_by_httpx() -> Any:
        client = httpx.AsyncClient()
        await client.aclose()
        return await client.get(site)

    async def no_request_by_httpx() -> Any:
        async with httpx.AsyncClient() as client:
            return await client.send(None)  # type: ignore[arg-type]  # on purpose

    async def page_by_aiohttp() -> Any:
        async with aiohttp.ClientSession() as session, session.get(f"{site}/moved") as response:
            return await response.text(), len(response.history), len(session.trace_configs)

    async def refused_by_aiohttp() -> Any:
        async with aiohttp.ClientSession() as session:
            return await session.get("http://127.0.0.1:1/")

    async def cut_by_aiohttp() -> Any:
        async with aiohttp.ClientSession() as session, session.get(f"{site}/cut") as response:
            return await response.read()

    async def no_url_by_aiohttp() -> Any:
        async with aiohttp.ClientSession() as session:
            return await session.get("page")

    async def no_text_by_aiohttp() -> Any:
        async with aiohttp.ClientSession() as session:
            return await session.get(3)  # type: ignore[arg-type]  # on purpose

    return [
        *(page_by_httpx, refused_by_httpx, cut_by_httpx, closed_by_httpx, no_request_by_httpx),
        *(page_by_aiohttp, refused_by_aiohttp, cut_by_aiohttp, no_url_by_aiohttp, no_text_by_aiohttp),
    ]


@pytest.mark.parametrize("make", [tenacity_programs, stamina_programs, backoff_programs, web_programs])
async def test_programs_see_no_difference(
    make: Callable[..., list[Callable[[], Awaitable[Any]]]], site: str
) -> None:
    """Results, errors and their tracebacks are those of the libraries alone."""

    async def run() -> list[Any]:
        programs = make(site) if make is web_programs else make()
        return [await observe(program) for program in programs]

    with patched() as captured:
        with_events = await run()
    assert captured.started
    assert captured.open == []
    assert await run() == with_events


@pytest.mark.parametrize("make", [tenacity_programs, backoff_programs])
async def test_a_manager_that_nobody_listens_to_costs_no_events(
    make: Callable[..., list[Callable[[], Awaitable[Any]]]],
) -> None:
    """Patched libraries work under a manager without recorder and handlers."""
    instrument()
    try:
        with use_callback_manager(CallbackManager(recorder=0)) as manager:
            results = [await observe(program) for program in make()]
    finally:
        uninstrument()
    assert results == [await observe(program) for program in make()]
    assert manager.stats().produced == 0


async def test_an_error_keeps_its_identity(site: str) -> None:
    """The exception that leaves a library is the object that was raised in it, with the same context."""
    error = ConnectionError("mine")

    @tenacity.retry(reraise=True, stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none())
    @backoff.on_exception(backoff.constant, ConnectionError, max_tries=1, logger=None)
    async def fetch() -> None:
        raise error

    with patched(), pytest.raises(ConnectionError) as raised:
        await fetch()
    assert raised.value is error
    assert not any("spanloom" in name for name in stack_of(error))
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("library", "owner", "name"),
    [
        ("httpx", httpx.Response, "aclose"),
        ("aiohttp", aiohttp.ClientSession, "_request"),
    ],
)
def test_a_changed_library_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, library: str, owner: type, name: str
) -> None:
    """What a client lacks of what is known of it makes one warning, and no part of it is patched."""
    before = [dict(vars(kind)) for kind in (httpx.AsyncClient, aiohttp.ClientResponse)]
    monkeypatch.delattr(owner, name)
    with caplog.at_level(logging.WARNING, "spanloom"):
        instrument(library)
        instrument(library)
    uninstrument(library)
    assert [f"{library} is not instrumented" in record.getMessage() for record in caplog.records] == [True]
    assert [dict(vars(kind)) for kind in (httpx.AsyncClient, aiohttp.ClientResponse)] == before


async def test_an_answer_that_is_not_as_it_was_is_no_failure(
    caplog: pytest.LogCaptureFixture, site: str
) -> None:
    """If what is to be read of a response is not there, the request works, its event ends, and one warning says so."""

    class Changed(httpx.AsyncClient):
        async def _send_handling_auth(self, *args: Any, **kwargs: Any) -> httpx.Response:
            response = await super()._send_handling_auth(*args, **kwargs)
            del response.history
            return response

    with caplog.at_level(logging.WARNING, "spanloom"), patched("httpx") as captured:
        async with Changed() as client:
            for _ in range(2):
                assert (await client.get(f"{site}/page")).text == "hello"
    assert tree(captured, site) == "request GET site ok\nrequest GET site ok"
    (record,) = caplog.records
    assert "httpx: its event lacks what could not be read: AttributeError" in record.getMessage()
