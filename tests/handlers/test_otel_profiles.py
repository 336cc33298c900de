"""In whose words spans tell of models and tools, and that contents stay where they are unless asked for."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from openinference.semconv import trace as openinference
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler, SamplingResult
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

from spanloom import async_map
from spanloom.events import model_keys
from spanloom.handlers.otel import OpenTelemetryHandler, _genai, _openinference
from spanloom.handlers.otel._content import VARIABLE, messages, parts_json
from tests.handlers.otel_setup import Setup

CANARY = "canary-7f3a"
CALL: dict[str, object] = {
    "provider": "openai",
    "model": "gpt-x",
    "response_model": "gpt-x-2026",
    "request_id": "chatcmpl-1",
    "finish_reason": "stop",
    "conversation_id": "c1",
    "user_id": "u1",
    "input_tokens": 100,
    "cached_input_tokens": 60,
    "cache_write_tokens": 10,
    "output_tokens": 20,
    "reasoning_tokens": 5,
    "total_tokens": 120,
    "cost_usd": 0.25,
    "temperature": 0,
    "max_tokens": 500,
    "stream": True,
    "mine": "kept",
}
CONTENTS: dict[str, object] = {
    key: (
        [
            {"role": "user", "content": CANARY},
            {"role": "tool", "content": [{"type": "x", "y": {CANARY: CANARY}}]},
        ]
        if key == "messages"
        else [{"text": CANARY}]
        if key == "documents"
        else {"argument": CANARY}
        if key == "arguments"
        else CANARY
    )
    for key in model_keys.CONTENT
}
PROFILES = ["plain", "gen_ai", "openinference"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def attributes_of(type: str, payload: dict[str, object], **options: Any) -> dict[str, Any]:
    otel = Setup(**options)
    with otel.manager.event(type, payload, name="call"):
        pass
    (span,) = otel.spans()
    otel.manager.close()
    about_the_event = ("spanloom.type", "spanloom.name", "spanloom.outcome")
    return {key: value for key, value in (span.attributes or {}).items() if key not in about_the_event}


# the tables --------------------------------------------------------------------------------------------------


def test_plain_uses_our_own_words() -> None:
    """Every scalar is there under its own name."""
    assert attributes_of("llm", CALL) == {f"spanloom.payload.{key}": value for key, value in CALL.items()}


def test_gen_ai_speaks_as_the_conventions_do() -> None:
    """Known keys have the names and types of the conventions, and are not told twice; others keep theirs."""
    found = attributes_of("llm", CALL, profile="gen_ai")
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.response.model": "gpt-x-2026",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.conversation.id": "c1",
        "user.id": "u1",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_write.input_tokens": 10,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.max_tokens": 500,
        "gen_ai.request.stream": True,
        "spanloom.payload.total_tokens": 120,
        "spanloom.payload.cost_usd": 0.25,
        "spanloom.payload.mine": "kept",
    }
    assert type(found["gen_ai.request.temperature"]) is float


@pytest.mark.parametrize(
    ("type", "payload", "operation"),
    [
        ("embedding", {}, "embeddings"),
        ("retrieve", {"top_k": 3}, "retrieval"),
        ("tool", {"tool": "search", "tool_call_id": "call_1"}, "execute_tool"),
        ("agent", {"agent": "planner"}, "invoke_agent"),
        ("step", {"operation": "text_completion"}, "text_completion"),
        ("step", {"model": "a plane"}, None),
    ],
)
def test_gen_ai_is_for_events_that_the_conventions_know(
    type: str, payload: dict[str, object], operation: str | None
) -> None:
    """The type says what is done, or the payload; a step with a model of another kind is left alone."""
    found = attributes_of(type, payload, profile="gen_ai")
    assert found.get("gen_ai.operation.name") == operation
    if operation is None:
        assert found == {"spanloom.payload.model": "a plane"}
    if type == "retrieve":
        assert found["gen_ai.retrieval.top_k"] == 3


def test_openinference_speaks_as_phoenix_does() -> None:
    """Span kinds on everything, token counts and invocation parameters on calls of models."""
    found = attributes_of("llm", CALL, profile="openinference")
    settings = json.loads(found.pop("llm.invocation_parameters"))
    assert settings == {"model": "gpt-x", "temperature": 0, "max_tokens": 500, "stream": True}
    assert found == {
        "openinference.span.kind": "LLM",
        "llm.provider": "openai",
        "llm.model_name": "gpt-x",
        "llm.response.model_name": "gpt-x-2026",
        "llm.finish_reason": "stop",
        "session.id": "c1",
        "user.id": "u1",
        "llm.token_count.prompt": 100,
        "llm.token_count.prompt_details.cache_read": 60,
        "llm.token_count.prompt_details.cache_write": 10,
        "llm.token_count.completion": 20,
        "llm.token_count.completion_details.reasoning": 5,
        "llm.token_count.total": 120,
        "llm.cost.total": 0.25,
        "spanloom.payload.request_id": "chatcmpl-1",
        "spanloom.payload.mine": "kept",
    }


def test_openinference_gives_every_span_a_kind() -> None:
    """Batches and jobs are links of a chain; what has a kind of its own has that."""
    otel = Setup(profile="openinference")

    async def job(_: object) -> None:
        for type in ("llm", "embedding", "retrieve", "tool", "agent", "reranker", "step"):
            with otel.manager.event(type):
                pass

    otel.run(async_map(job, [0], desc="batch"))
    kinds = {span.name: (span.attributes or {})["openinference.span.kind"] for span in otel.spans()}
    assert kinds == {
        "batch": "CHAIN",
        "job": "CHAIN",
        "step": "CHAIN",
        "llm": "LLM",
        "embedding": "EMBEDDING",
        "retrieve": "RETRIEVER",
        "tool": "TOOL",
        "agent": "AGENT",
        "reranker": "RERANKER",
    }


def test_the_names_of_gen_ai_are_those_of_the_official_package() -> None:
    """What our table says is what OpenTelemetry's own package says, but for what is newer than that."""
    known = {value for key, value in vars(gen_ai_attributes).items() if key.startswith("GEN_AI_")}
    newer = {"gen_ai.usage.cache_write.input_tokens", "gen_ai.retrieval.top_k"}
    tables = (_genai._TABLE, _genai._RETRIEVAL)
    ours = {field.attribute for table in tables for field in table.values()}
    assert {name for name in ours if name.startswith("gen_ai.")} - known == newer


def test_the_names_of_openinference_are_those_of_the_official_package() -> None:
    """What our tables say is what the package openinference-semantic-conventions says."""
    known = {value for value in vars(openinference.SpanAttributes).values() if isinstance(value, str)}
    for table in _openinference._TABLES.values():
        assert {field.attribute for field in table.values()} <= known
    kinds = {kind.value for kind in openinference.OpenInferenceSpanKindValues}
    assert set(_openinference._KINDS.values()) <= kinds


def test_values_of_another_kind_are_left_out() -> None:
    """A number of tokens that is a text, or a model that is an object, makes no attribute of the wrong type."""
    payload = {
        "input_tokens": "many",
        "model": object(),
        "stream": 1,
        "finish_reason": [object()],
        "seed": 1 << 70,
    }
    assert attributes_of("llm", payload, profile="gen_ai") == {
        "gen_ai.operation.name": "chat",
        "spanloom.payload.input_tokens": "many",
        "spanloom.payload.stream": 1,
        "spanloom.payload.seed": hex(1 << 70),
    }


def test_a_sampler_sees_the_same_words() -> None:
    """What is known at the start is told as it will be at the end, contents excepted."""
    seen: list[dict[str, Any]] = []

    class Looking(Sampler):
        def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
            seen.append(dict(args[4]))
            return SamplingResult(Decision.RECORD_AND_SAMPLE)

        def get_description(self) -> str:
            return "Looking"

    attributes_of(
        "llm", {"model": "m", "prompt": CANARY}, sampler=Looking(), profile="gen_ai", capture_content=True
    )
    assert seen == [
        {
            "spanloom.type": "llm",
            "spanloom.name": "call",
            "gen_ai.request.model": "m",
            "gen_ai.operation.name": "chat",
        }
    ]


# contents ----------------------------------------------------------------------------------------------------


def exported(**options: Any) -> bytes:
    otel = Setup(ALWAYS_ON, **options)

    async def job(_: object) -> None:
        for type in ("llm", "embedding", "retrieve", "tool", "agent", "step", "call"):
            with otel.manager.event(type, {**CALL, **CONTENTS}, name="call") as context:
                otel.manager.emit(payload=CONTENTS)
                context.set(**CONTENTS)

    otel.run(async_map(job, [0], desc="batch"))
    otel.manager.emit(payload=CONTENTS, name="alone")
    spans = otel.spans()
    otel.manager.close()
    assert len(spans) == 10
    return encode_spans(spans).SerializeToString()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "setting", [None, "", "false", "False", "NO_CONTENT", "event_only", "yes please", "1"]
)
def test_no_content_leaves_the_process_unless_asked_for(
    profile: str, setting: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a word of any prompt, answer, argument or document is in the bytes that are sent."""
    if setting is not None:
        monkeypatch.setenv(VARIABLE, setting)
    sent = exported(profile=profile)
    assert b"gpt-x" in sent
    assert CANARY.encode() not in sent


@pytest.mark.parametrize("profile", PROFILES)
def test_code_that_says_no_is_stronger_than_the_environment(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that must not record contents cannot be made to by a variable."""
    monkeypatch.setenv(VARIABLE, "true")
    assert CANARY.encode() not in exported(profile=profile, capture_content=False)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("setting", ["true", "TRUE", "span_only", "SPAN_AND_EVENT", None])
def test_content_is_recorded_when_asked_for(
    profile: str, setting: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable that other instrumentations honour, or by code."""
    if setting is not None:
        monkeypatch.setenv(VARIABLE, setting)
    assert CANARY.encode() in exported(profile=profile, capture_content=None if setting else True)


def test_a_setting_that_cannot_be_kept_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asks for contents in events, or for what does not exist, reads that there are none."""
    with caplog.at_level(logging.WARNING):
        for setting in ("event_only", "sometimes", "no_content"):
            monkeypatch.setenv(VARIABLE, setting)
            OpenTelemetryHandler()
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        f"{VARIABLE}=event_only",
        f"{VARIABLE}=sometimes is not one of event_only, false, no_content, span_and_event, span_only, true",
    ]


MESSAGES = [
    {"role": "user", "content": "Weather in Paris?"},
    {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": "1", "name": "weather", "arguments": {"city": "Paris"}}],
    },
]


def test_gen_ai_contents_have_the_form_of_the_conventions() -> None:
    """Messages with roles and parts, as JSON; instructions and a tool's arguments in attributes of their own."""
    payload: dict[str, object] = {"messages": MESSAGES, "output": "Rain.", "system": "Be short."}
    found = attributes_of("llm", payload, profile="gen_ai", capture_content=True)
    assert json.loads(found["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Weather in Paris?"}]},
        MESSAGES[1],
    ]
    assert json.loads(found["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Rain."}]}
    ]
    assert json.loads(found["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be short."}]
    tool: dict[str, object] = {"arguments": {"city": "Paris"}, "result": "rain"}
    found = attributes_of("tool", tool, profile="gen_ai", capture_content=True)
    assert json.loads(found["gen_ai.tool.call.arguments"]) == {"city": "Paris"}
    assert found["gen_ai.tool.call.result"] == "rain"


def test_openinference_contents_have_the_form_of_phoenix() -> None:
    """Input and output with their media types, and messages one by one."""
    payload: dict[str, object] = {"messages": MESSAGES, "completion": "Rain.", "system": "Be short."}
    found = attributes_of("llm", payload, profile="openinference", capture_content=True)
    assert json.loads(found["input.value"]) == MESSAGES
    assert (found["input.mime_type"], found["output.mime_type"]) == ("application/json", "text/plain")
    assert found["output.value"] == found["llm.output_messages.0.message.content"] == "Rain."
    assert [found[f"llm.input_messages.{index}.message.role"] for index in range(3)] == [
        "system",
        "user",
        "assistant",
    ]
    assert found["llm.input_messages.1.message.content"] == "Weather in Paris?"
    assert "tool_call" in found["llm.input_messages.2.message.content"]


@pytest.mark.parametrize("profile", PROFILES)
def test_contents_are_bounded(profile: str) -> None:
    """A prompt of a megabyte, or ten thousand messages, becomes what it was told to, and JSON stays JSON."""
    payload: dict[str, object] = {
        "messages": [{"role": "user", "content": "x" * 1000}] * 1000,
        "completion": "y" * 1_000_000,
    }
    found = attributes_of("llm", payload, profile=profile, capture_content=True, max_content=1000)
    for key, value in found.items():
        if isinstance(value, str):
            assert len(value) <= 1000, key
            if value.startswith("["):
                json.loads(value)
    assert any("yyyy" in str(value) for value in found.values())


def test_no_code_of_the_user_s_runs_for_contents() -> None:
    """Objects are shown by their type's name: no `str`, `repr`, iteration or `get` of theirs is called."""

    class Loud(dict[str, object]):
        def __str__(self) -> str:
            raise AssertionError

        __repr__ = __str__
        __iter__ = items = keys = get = __getitem__ = __str__  # type: ignore[assignment]  # one body for all

    class Text(str):
        def __str__(self) -> str:
            raise AssertionError

        __len__ = __format__ = __repr__ = __str__  # type: ignore[assignment]  # one body for all

    text = parts_json(
        messages([Loud(), {"role": "user", "content": [Loud(), Text("quiet"), float("nan")]}], "user"), 999
    )
    assert "Loud>" in text
    assert "quiet" in text
    assert json.loads(text)[1]["parts"][2]["content"] == "nan"
    recursive: list[object] = []
    recursive.append(recursive)
    assert len(parts_json(recursive, 100)) <= 100


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"profile": "genai"}, "profile must be one of plain, gen_ai, openinference"),
        ({"max_content": 3}, "at least 16"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], says: str) -> None:
    """A misspelt profile is an error where it is written, not a span without attributes."""
    with pytest.raises(ValueError, match=says):
        OpenTelemetryHandler(**options)
