"""The openai target: every request of the real clients is an event, and what they do stays the same."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai._base_client import AsyncAPIClient, SyncAPIClient
from openai._models import FinalRequestOptions
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_current_span

import spanloom
from spanloom.handlers.otel import OpenTelemetryHandler
from spanloom.handlers.record import RecordHandler
from spanloom.instrument import harmless, model_call, model_clients
from spanloom.store.reader import StoreReader
from spanloom.testing import capture_events
from tests.instrument.model_server import PIECES, ModelServer, call_of

ASK: Any = {"model": "gpt", "messages": [{"role": "user", "content": "a secret"}]}
TOKENS = {
    "input_tokens": 7,
    "cached_input_tokens": 3,
    "output_tokens": 4,
    "reasoning_tokens": 1,
    "total_tokens": 11,
}


@pytest.fixture(autouse=True)
def patched() -> Iterator[None]:
    spanloom.instrument("openai")
    yield
    spanloom.uninstrument("openai")


@pytest.fixture
def client(server: ModelServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-secret") as client:
        yield client


@pytest.fixture
def async_client(server: ModelServer) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-secret")


def test_a_call_is_an_event_with_what_the_answer_says_of_itself(
    client: openai.OpenAI, server: ModelServer
) -> None:
    """A chat completion tells model, tokens, finish reason, request id, server and settings, and no contents."""
    with capture_events() as captured:
        answer = client.chat.completions.create(
            **ASK, temperature=0.5, max_completion_tokens=9, seed=3, user="ann"
        )
    assert answer.choices[0].message.content == "".join(PIECES)
    assert (
        captured.tree()
        == (
            "llm openai.chat.completions ok\n  attempt openai.chat.completions 1. ok"  # the client might try again
        )
    )
    assert call_of(captured).payload == {
        "provider": "openai",
        "operation": "chat",
        "server_address": "127.0.0.1",
        "server_port": server.port,
        "model": "gpt",
        "response_model": "gpt-2026",
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 3,
        "request_id": "req_1",
        "finish_reason": "stop",
        **TOKENS,
    }


async def test_an_asynchronous_call_is_the_same_event(async_client: openai.AsyncOpenAI) -> None:
    """The asynchronous client's calls are told as the other one's are, each under the job that made it."""

    async def ask(number: int) -> str | None:
        answer = await async_client.with_options(max_retries=0).chat.completions.create(**ASK)
        return answer.choices[0].message.content

    async with async_client:
        with capture_events() as captured:
            assert await spanloom.async_map(ask, range(2), limit=2) == ["".join(PIECES)] * 2
    assert captured.tree() == (
        "batch ask ok\n"
        "  job ask #0 ok\n    llm openai.chat.completions ok\n"
        "  job ask #1 ok\n    llm openai.chat.completions ok"
    )
    (call, _) = [event for event in captured.events if event.type == "llm"]
    assert {key: call.payload[key] for key in TOKENS} == TOKENS
    assert call.payload["finish_reason"] == "stop"


def test_chunks_may_end_one_answer_or_several_at_once() -> None:
    """All the reasons are in one list, in the order in which they came."""
    with capture_events() as captured:
        call = model_call.ModelCall("llm", "stream", {}, retries=False)
        for reasons in (["stop"], ["length", "stop"], [None]):
            call.take({"choices": [{"finish_reason": reason} for reason in reasons]})
        call.leave()
        call.end(None)
    assert captured.events[0].payload["finish_reason"] == ["stop", "length", "stop"]


def test_several_answers_have_several_finish_reasons(client: openai.OpenAI) -> None:
    """With ``n=2`` there is a reason for each answer."""
    with capture_events() as captured:
        client.chat.completions.create(**ASK, n=2)
    assert call_of(captured).payload["finish_reason"] == ["stop", "stop"]


def test_embeddings_responses_and_other_requests_have_their_types(client: openai.OpenAI) -> None:
    """Embeddings are of their own type, responses are of language models, and a list of models is a plain call."""
    with capture_events() as captured:
        client.embeddings.create(model="e", input=["a", "b"], encoding_format="float")
        client.responses.create(model="gpt", input="a secret")
        assert [model.id for model in client.models.list()] == ["m"]
    embedding, response, models = (event for event in captured.events if event.parent_id is None)
    assert (embedding.type, embedding.name) == ("embedding", "openai.embeddings")
    assert embedding.payload["input_tokens"] == 2
    assert (response.type, response.payload["finish_reason"]) == ("llm", "completed")
    assert {key: response.payload[key] for key in TOKENS} == TOKENS
    assert (models.type, models.name) == ("call", "openai.models")
    assert "finish_reason" not in models.payload


def test_attempts_and_pauses_are_events(client: openai.OpenAI, server: ModelServer) -> None:
    """A 429 and a 500 before the answer are failed attempts, with the pause that the server asked for between."""
    server.failures += [(429, {"retry-after-ms": "30"}), (500, {"retry-after-ms": "1"})]
    with capture_events() as captured:
        client.chat.completions.create(**ASK)
    assert captured.tree() == (
        "llm openai.chat.completions ok\n"
        "  attempt openai.chat.completions 1. error openai.RateLimitError\n"
        "  backoff openai.chat.completions 1. ok\n"
        "  attempt openai.chat.completions 2. error openai.InternalServerError\n"
        "  backoff openai.chat.completions 2. ok\n"
        "  attempt openai.chat.completions 3. ok"
    )
    first, second = (event for event in captured.events if event.type == "backoff")
    assert first.payload == {"error": "RateLimitError", "delay_s": 0.03}
    assert first.duration_ns is not None
    assert first.duration_ns >= 30_000_000
    assert second.payload["delay_s"] == 0.001
    assert call_of(captured).payload["request_id"] == "req_3"


def test_a_call_that_fails_ends_with_the_error_that_the_caller_gets(
    client: openai.OpenAI, server: ModelServer
) -> None:
    """A 400 is raised as without us, and is the error of the event and of its one attempt."""
    server.failures += [(400, {})]
    with capture_events() as captured, pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**ASK)
    assert captured.tree() == (
        "llm openai.chat.completions error openai.BadRequestError\n"
        "  attempt openai.chat.completions 1. error openai.BadRequestError"
    )
    assert call_of(captured).payload["request_id"] == "req_1"
    # A server may repeat the prompt in what it says of it.
    assert {event.error and event.error.message for event in captured.events} == {"Error code: 400"}
    assert all(event.error and event.error.frames for event in captured.events)


async def test_a_refused_connection_is_a_failed_attempt(unused_tcp_port: int) -> None:
    """Where nobody listens, each attempt ends with the HTTP library's error, and the call with openai's."""
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{unused_tcp_port}", api_key="k", max_retries=1)
    async with client:
        with capture_events() as captured:
            try:
                raise KeyError  # that of a caller who asks while handling one is none of ours
            except KeyError:
                with pytest.raises(openai.APIConnectionError):
                    await client.chat.completions.create(**ASK)
    assert [(event.type, event.error and event.error.type) for event in captured.started] == [
        ("llm", "openai.APIConnectionError"),
        ("attempt", "httpx2.ConnectError"),
        ("backoff", None),
        ("attempt", "openai.APIConnectionError"),
    ]


async def test_a_cancelled_pause_ends_as_cancelled(
    async_client: openai.AsyncOpenAI, server: ModelServer
) -> None:
    """A task cancelled while the client pauses raises that, and all that is open ends as cancelled."""
    server.failures += [(429, {"retry-after": "60"})]
    async with async_client:
        with capture_events() as captured:
            task = asyncio.create_task(async_client.chat.completions.create(**ASK))
            while not any(event.type == "backoff" for event in captured.started):
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert captured.tree() == (
        "llm openai.chat.completions cancelled asyncio.exceptions.CancelledError\n"
        "  attempt openai.chat.completions 1. error openai.RateLimitError\n"
        "  backoff openai.chat.completions 1. cancelled asyncio.exceptions.CancelledError"
    )


# streams ------------------------------------------------------------------------------------------------------


def test_a_stream_lasts_until_it_is_exhausted(client: openai.OpenAI) -> None:
    """The event is open while chunks come, is nobody's parent meanwhile, and has what the last chunks say."""
    with capture_events() as captured:
        stream = client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
        call = call_of(captured)
        text = ""
        for chunk in stream:
            assert call.end_ns is None
            assert spanloom.current_event() is None
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert text == "".join(PIECES)
    assert call.status == "ok"
    assert {key: call.payload[key] for key in TOKENS} == TOKENS
    assert (call.payload["stream"], call.payload["finish_reason"]) == (True, "stop")
    first_s = call.payload["time_to_first_chunk_s"]
    assert isinstance(first_s, float)
    assert call.duration_ns is not None
    assert 0 < first_s <= call.duration_ns / 1e9


async def test_an_asynchronous_stream_lasts_until_it_is_exhausted(async_client: openai.AsyncOpenAI) -> None:
    """An asynchronous stream is told as the other one is."""
    async with async_client:
        with capture_events() as captured:
            stream = await async_client.chat.completions.create(
                **ASK, stream=True, stream_options={"include_usage": True}
            )
            call = call_of(captured)
            assert call.end_ns is None
            chunks = [chunk async for chunk in stream]
    assert len(chunks) == len(PIECES) + 3
    assert call.status == "ok"
    assert {key: call.payload[key] for key in TOKENS} == TOKENS


async def test_the_inside_of_a_stream_is_the_generator_that_it_was(
    client: openai.OpenAI, async_client: openai.AsyncOpenAI
) -> None:
    """What drives it by ``send`` and ``throw``, or looks at its frame, finds it; what it yields so is told as well."""
    with capture_events() as captured:
        stream: Any = client.chat.completions.create(**ASK, stream=True)
        inside = stream._iterator
        assert inspect.isgenerator(inside)
        assert inside.gi_frame is not None
        while inside.send(None).choices[0].finish_reason is None:
            pass
        with pytest.raises(KeyError):
            inside.throw(KeyError("thrown"))
        async with async_client:
            later: Any = await async_client.chat.completions.create(**ASK, stream=True)
            inside = later._iterator
            assert inspect.isasyncgen(inside)
            while (await inside.asend(None)).choices[0].finish_reason is None:
                pass
            with pytest.raises(KeyError):
                await inside.athrow(KeyError("thrown"))
            await later.close()
    calls = [event for event in captured.events if event.parent_id is None]
    assert [(call.status, call.payload["finish_reason"]) for call in calls] == [("ok", "stop")] * 2


@pytest.mark.parametrize("how", ["close", "with", "drop", "break"])
def test_a_stream_that_is_left_early_ends_as_cancelled(client: openai.OpenAI, how: str) -> None:
    """Closed, left by its block, dropped or broken off: the event ends then, as cancelled."""
    with capture_events() as captured:
        stream: Any = client.chat.completions.create(**ASK, stream=True)
        call = call_of(captured)
        if how == "with":
            with stream:
                next(stream)
        else:
            for _ in stream:
                break
            if how == "close":
                stream.close()
        del stream
        gc.collect()  # the library's own cycle of the stream and its generator
    assert (call.status, call.error and call.error.type) == ("cancelled", "GeneratorExit")


@pytest.mark.parametrize("how", ["close", "with", "drop"])
async def test_an_asynchronous_stream_that_is_left_early_ends_as_cancelled(
    async_client: openai.AsyncOpenAI, how: str
) -> None:
    """The same for an asynchronous stream."""
    async with async_client:
        with capture_events() as captured:
            stream: Any = await async_client.chat.completions.create(**ASK, stream=True)
            call = call_of(captured)
            await anext(stream)
            if how == "close":
                await stream.close()
            elif how == "with":
                async with stream:
                    pass
            del stream
            gc.collect()
            await asyncio.sleep(0.01)  # the loop closes what was dropped
    assert call.status == "cancelled"


def test_a_stream_left_after_the_last_word_is_complete(client: openai.OpenAI) -> None:
    """Whoever stops at the finish reason has the whole answer: that is no cancel."""
    with capture_events() as captured:
        stream = client.chat.completions.create(**ASK, stream=True)
        for chunk in stream:
            if chunk.choices[0].finish_reason:
                break
        stream.close()
    assert call_of(captured).status == "ok"


async def test_a_cancelled_reader_ends_the_event_as_cancelled(
    async_client: openai.AsyncOpenAI, server: ModelServer
) -> None:
    """A task cancelled while it waits for the next chunk ends the event of the stream."""
    waiting = asyncio.Event()
    held = asyncio.Event()

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield b'data: {"id":"1","object":"chat.completion.chunk","model":"gpt","created":1,"choices":[]}\n\n'
            waiting.set()
            await held.wait()

    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=Slow()))
    legacy = openai.AsyncOpenAI(api_key="k", http_client=httpx.AsyncClient(transport=transport))
    async with legacy:
        with capture_events() as captured:

            async def read() -> None:
                async for _ in await legacy.chat.completions.create(**ASK, stream=True):
                    pass

            task = asyncio.create_task(read())
            await waiting.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert (call_of(captured).status, server.paths) == ("cancelled", [])


def test_a_stream_that_breaks_ends_with_the_error_that_its_reader_gets(
    client: openai.OpenAI, server: ModelServer
) -> None:
    """A connection cut in the middle is the event's error, as the library raises it."""
    server.breaks_after = 2
    with capture_events() as captured:
        stream = client.chat.completions.create(**ASK, stream=True)
        with pytest.raises(openai.APIConnectionError):
            list(stream)
    call = call_of(captured)
    assert call.error is not None
    assert (call.status, call.error.type) == ("error", "openai.APIConnectionError")


def test_raw_answers_are_seen(client: openai.OpenAI) -> None:
    """Raw answers tell tokens as well, parsed or not; raw streams end with their stream, or with their block."""
    with capture_events() as captured:
        raw = client.chat.completions.with_raw_response.create(**ASK)
        assert raw.parse().choices[0].message.content == "".join(PIECES)
        assert raw.headers["x-request-id"] == "req_1"
        streamed: Any = client.chat.completions.with_raw_response.create(**ASK, stream=True)
        assert len(list(streamed.parse())) == len(PIECES) + 2
        with client.chat.completions.with_streaming_response.create(**ASK) as response:
            opened = captured.started[-2]
            assert opened.end_ns is None
            assert response.read()
    whole, stream, read = (event for event in captured.events if event.parent_id is None)
    assert {key: whole.payload[key] for key in TOKENS} == TOKENS
    assert whole.payload["request_id"] == "req_1"
    assert (stream.status, stream.payload["finish_reason"]) == ("ok", "stop")
    assert (read, read.status) == (opened, "ok")


async def test_the_helpers_of_the_library_are_seen(async_client: openai.AsyncOpenAI) -> None:
    """``chat.completions.stream`` ends its event with its block, complete or not."""
    async with async_client:
        with capture_events() as captured:
            async with async_client.chat.completions.stream(**ASK) as stream:
                final = await stream.get_final_completion()
            async with async_client.chat.completions.stream(**ASK) as stream:
                await anext(aiter(stream))
    assert final.choices[0].message.content == "".join(PIECES)
    assert [event.status for event in captured.events if event.type == "llm"] == ["ok", "cancelled"]


def test_a_record_has_what_is_said_of_the_answer(client: openai.OpenAI, tmp_path: Path) -> None:
    """Model, tokens, finish reason and request id are recorded without being asked for; contents never are."""
    recording = RecordHandler(tmp_path / "runs.db")
    with spanloom.use_callback_manager(spanloom.CallbackManager([recording])) as manager:
        client.chat.completions.create(**ASK)
        manager.close()
    with StoreReader(tmp_path / "runs.db") as reader:
        (call,) = reader.records(reader.find("last"), types=["llm"])
    assert call.payload is not None
    assert {key: call.payload[key] for key in TOKENS} == TOKENS
    assert call.payload["model"] == "gpt"
    assert call.payload["finish_reason"] == "stop"
    assert call.payload["request_id"] == "req_1"
    assert b"a secret" not in (tmp_path / "runs.db").read_bytes()


async def test_a_stream_is_nobodys_parent_in_opentelemetry_either(async_client: openai.AsyncOpenAI) -> None:
    """Between two chunks the current span is the one around the call, not those of the call and of its request."""
    spanloom.instrument("httpx2")
    manager = spanloom.CallbackManager([OpenTelemetryHandler(tracer_provider=TracerProvider())])
    try:
        async with async_client:
            with spanloom.use_callback_manager(manager), manager.event(name="around") as around:
                async for _ in await async_client.chat.completions.create(**ASK, stream=True):
                    assert get_current_span().get_span_context().span_id == around.event_id
    finally:
        spanloom.uninstrument("httpx2")
        manager.close()


# the same work ------------------------------------------------------------------------------------------------


def test_nothing_is_seen_any_more_once_it_is_undone(client: openai.OpenAI) -> None:
    """After `uninstrument` the classes are as they were, and no event is made."""
    watched = openai.OpenAI.request
    assert inspect.iscoroutinefunction(openai.AsyncOpenAI.request)
    spanloom.uninstrument("openai")
    assert openai.OpenAI.request is not watched
    with capture_events() as captured:
        client.chat.completions.create(**ASK)
        watched(client, cast_to=object, options=FinalRequestOptions.construct(method="get", url="/models"))
    assert captured.started == []


def test_azure_is_another_provider(server: ModelServer) -> None:
    """The client for Azure names that, and the path without the deployment."""
    with (
        openai.AzureOpenAI(
            base_url=f"{server.url}/v1", api_key="k", api_version="1", max_retries=0
        ) as client,
        capture_events() as captured,
    ):
        client.chat.completions.create(**ASK)
    assert captured.tree() == "llm openai.chat.completions ok"
    assert call_of(captured).payload["provider"] == "azure.ai.openai"


def test_a_library_that_has_changed_is_left_as_it_is(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without one of the methods that are patched, none is, with one warning that names the release known."""
    spanloom.uninstrument("openai")
    request = SyncAPIClient.request
    monkeypatch.delattr(AsyncAPIClient, "_sleep_for_retry")
    monkeypatch.setattr(harmless, "_told", set())
    spanloom.instrument("openai")
    assert SyncAPIClient.request is request
    with capture_events() as captured:
        client.chat.completions.create(**ASK)
    assert captured.started == []
    (record,) = [record for record in caplog.records if record.name == "spanloom"]
    assert "openai 3.54.0" in record.getMessage()


def test_a_request_that_cannot_be_read_is_made_all_the_same(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If what is read of a request is not there any more, it has no event, and there is one warning."""
    monkeypatch.setattr(harmless, "_told", set())
    monkeypatch.setattr(model_clients, "urlsplit", None)
    with capture_events() as captured:
        for _ in range(2):
            assert client.chat.completions.create(**ASK).choices[0].message.content == "".join(PIECES)
    assert captured.started == []
    assert len([record for record in caplog.records if record.name == "spanloom"]) == 1


def test_a_stream_that_is_no_generator_any_more_is_read_all_the_same(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the library reads a body with may be another kind of iterator: its event lacks what was in the chunks."""
    spanloom.uninstrument("openai")
    make = openai.Stream.__stream__
    monkeypatch.setattr(openai.Stream, "__stream__", lambda stream: itertools.chain(make(stream)))
    monkeypatch.setattr(harmless, "_told", set())
    spanloom.instrument("openai")
    with capture_events() as captured:
        for _ in range(2):
            chunks = list(client.chat.completions.create(**ASK, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "".join(
        PIECES
    )
    assert [event.type for event in captured.events] == ["attempt", "llm"] * 2
    assert len([record for record in caplog.records if record.name == "spanloom"]) == 1


def test_a_failure_that_cannot_be_made_again_is_that_of_the_library(
    client: openai.OpenAI,
    server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without the library's table of exceptions, an attempt fails by what is being handled; the call goes on."""
    server.failures += [(500, {"retry-after-ms": "1"})]
    known = client._make_status_error
    monkeypatch.setattr(
        client, "_make_status_error_from_response", lambda response: known("", body=None, response=response)
    )
    monkeypatch.setattr(type(client), "_make_status_error", None)
    monkeypatch.setattr(harmless, "_told", set())
    with capture_events() as captured:
        assert client.chat.completions.create(**ASK).choices[0].message.content == "".join(PIECES)
    assert "backoff openai.chat.completions 1. ok" in captured.tree()
    assert len([record for record in caplog.records if record.name == "spanloom"]) == 1


async def test_a_streamed_answer_is_read_within_its_attempt(async_client: openai.AsyncOpenAI) -> None:
    """The attempt lasts as long as what it contains: until the body has been read, and with nothing current before."""
    async with async_client:
        with capture_events() as captured:
            stream = await async_client.chat.completions.create(**ASK, stream=True)
            assert spanloom.current_event() is None
            assert [event.type for event in spanloom.in_flight()] == ["llm", "attempt"]
            async for _ in stream:
                pass
    assert captured.tree() == "llm openai.chat.completions ok\n  attempt openai.chat.completions 1. ok"
