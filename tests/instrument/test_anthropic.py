"""The anthropic target: every request of the real clients is an event, and what they do stays the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

import spanloom
from spanloom.testing import capture_events
from tests.instrument.model_server import PIECES, ModelServer, call_of

ASK: Any = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "a secret"}]}
TOKENS = {
    "input_tokens": 8,  # 5 fresh ones, 2 read from the cache, 1 written to it
    "cached_input_tokens": 2,
    "cache_write_tokens": 1,
    "output_tokens": 4,
}


@pytest.fixture(autouse=True)
def patched() -> Iterator[None]:
    spanloom.instrument("anthropic")
    yield
    spanloom.uninstrument("anthropic")


@pytest.fixture
def client(server: ModelServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="sk-secret") as client:
        yield client


@pytest.fixture
def async_client(server: ModelServer) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=server.url, api_key="sk-secret")


def test_a_call_is_an_event_with_what_the_answer_says_of_itself(
    client: anthropic.Anthropic, server: ModelServer
) -> None:
    """A message tells model, tokens, stop reason, request id, server and settings, and no contents."""
    with capture_events() as captured:
        answer = client.messages.create(
            **ASK, system="another secret", extra_body={"temperature": 1.0, "top_k": 5}
        )
    assert [getattr(block, "text", "") for block in answer.content] == ["".join(PIECES)]
    assert captured.tree() == "llm anthropic.messages ok\n  attempt anthropic.messages 1. ok"
    assert call_of(captured).payload == {
        "provider": "anthropic",
        "operation": "chat",
        "server_address": "127.0.0.1",
        "server_port": server.port,
        "model": "claude",
        "response_model": "claude-2026",
        "temperature": 1.0,
        "top_k": 5,
        "max_tokens": 9,
        "request_id": "req_1",
        "finish_reason": "end_turn",
        **TOKENS,
    }


async def test_attempts_and_pauses_are_events(
    async_client: anthropic.AsyncAnthropic, server: ModelServer
) -> None:
    """A 429 before the answer is a failed attempt, with the pause that the server asked for after it."""
    server.failures += [(429, {"retry-after-ms": "20"})]
    async with async_client:
        with capture_events() as captured:
            await async_client.messages.create(**ASK)
    assert captured.tree() == (
        "llm anthropic.messages ok\n"
        "  attempt anthropic.messages 1. error anthropic.RateLimitError\n"
        "  backoff anthropic.messages 1. ok\n"
        "  attempt anthropic.messages 2. ok"
    )
    (pause,) = (event for event in captured.events if event.type == "backoff")
    assert pause.payload == {"error": "RateLimitError", "delay_s": 0.02}


def test_a_call_that_fails_ends_with_the_error_that_the_caller_gets(
    client: anthropic.Anthropic, server: ModelServer
) -> None:
    """A 400 is raised as without us, and is the error of the event."""
    server.failures += [(400, {})]
    with capture_events() as captured, pytest.raises(anthropic.BadRequestError):
        client.messages.create(**ASK)
    assert captured.tree() == (
        "llm anthropic.messages error anthropic.BadRequestError\n"
        "  attempt anthropic.messages 1. error anthropic.BadRequestError"
    )
    assert call_of(captured).payload["request_id"] == "req_1"


def test_counting_tokens_is_a_call_of_no_model(client: anthropic.Anthropic) -> None:
    """What is not an answer of a model is a plain call, named by the first part of its path only."""
    with capture_events() as captured:
        assert client.messages.count_tokens(model="claude", messages=ASK["messages"]).input_tokens == 1
    assert call_of(captured).type == "call"
    assert call_of(captured).name == "anthropic.messages"


async def test_a_stream_lasts_until_it_is_exhausted(async_client: anthropic.AsyncAnthropic) -> None:
    """The event of a stream is open while chunks come, and has what the first and the last chunks say."""
    async with async_client:
        with capture_events() as captured:
            stream = await async_client.messages.create(**ASK, stream=True)
            call = call_of(captured)
            kinds = []
            async for chunk in stream:
                assert call.end_ns is None
                kinds.append(chunk.type)
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert call.status == "ok"
    assert {key: call.payload[key] for key in TOKENS} == TOKENS
    assert (call.payload["response_model"], call.payload["finish_reason"]) == ("claude-2026", "end_turn")
    assert call.payload["stream"] is True
    assert isinstance(call.payload["time_to_first_chunk_s"], float)


@pytest.mark.parametrize("left_early", [False, True])
def test_the_helper_of_the_library_is_seen(client: anthropic.Anthropic, left_early: bool) -> None:
    """``messages.stream`` ends its event with its block: as ok when it was read, else as cancelled."""
    with capture_events() as captured, client.messages.stream(**ASK) as stream:
        text = next(iter(stream.text_stream)) if left_early else "".join(stream.text_stream)
    assert text == (PIECES[0] if left_early else "".join(PIECES))
    assert call_of(captured).status == ("cancelled" if left_early else "ok")


async def test_a_dropped_stream_ends_as_cancelled(async_client: anthropic.AsyncAnthropic) -> None:
    """A stream that nobody holds any more has ended; nothing has to be collected for that."""
    async with async_client:
        with capture_events() as captured:
            stream: Any = await async_client.messages.create(**ASK, stream=True)
            await anext(stream)
            del stream
            await asyncio.sleep(0.01)  # the loop closes it
    assert call_of(captured).status == "cancelled"


def test_a_stream_that_breaks_ends_with_the_error_that_its_reader_gets(
    client: anthropic.Anthropic, server: ModelServer
) -> None:
    """A connection cut in the middle is the event's error, the very type that is raised."""
    server.breaks_after = 2
    with capture_events() as captured, pytest.raises(Exception, match="closed") as raised:
        list(client.messages.create(**ASK, stream=True))
    call = call_of(captured)
    assert call.error is not None
    assert (call.status, call.error.type.rpartition(".")[2]) == ("error", raised.type.__name__)


def test_raw_answers_are_seen(client: anthropic.Anthropic) -> None:
    """Raw answers tell tokens as well; one that is read in a block ends with that."""
    with capture_events() as captured:
        assert client.messages.with_raw_response.create(**ASK).parse().stop_reason == "end_turn"
        with client.messages.with_streaming_response.create(**ASK) as response:
            assert captured.started[-2].end_ns is None
            assert response.read()
    whole, read = (event for event in captured.events if event.parent_id is None)
    assert {key: whole.payload[key] for key in TOKENS} == TOKENS
    assert (read.status, read.payload["request_id"]) == ("ok", "req_2")


def test_nothing_is_seen_any_more_once_it_is_undone(client: anthropic.Anthropic) -> None:
    """After `uninstrument` no event is made."""
    spanloom.uninstrument("anthropic")
    with capture_events() as captured:
        client.messages.create(**ASK)
    assert captured.started == []
