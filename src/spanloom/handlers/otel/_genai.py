"""The profile ``gen_ai``: OpenTelemetry's semantic conventions for generative AI.

They are in development, in a repository of their own, and change names as they go. The one table below is what this
version of spanloom speaks; it changes as a whole, with `SEMCONV_GEN_AI`.

Source: https://github.com/open-telemetry/semantic-conventions-genai at commit 024a4f944a12, docs/gen-ai; shared
attributes from semantic conventions 1.44.0.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from spanloom.events import Event, EventType, model_keys
from spanloom.handlers.otel._content import content_text, messages, parts_json
from spanloom.handlers.otel._plain import plain_text
from spanloom.handlers.otel._profiles import Field, Rules, fields, first, flag, real, text, texts, whole

__all__ = ["SEMCONV_GEN_AI", "describe_gen_ai", "entitle_gen_ai", "operation_of"]

SEMCONV_GEN_AI: Final = "1.42.0-dev"
"""Version of the conventions, as in their schema URL ``https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev``."""

_OPERATIONS: Final = {
    EventType.LLM: "chat",
    EventType.EMBEDDING: "embeddings",
    EventType.RETRIEVE: "retrieval",
    EventType.TOOL: "execute_tool",
    "agent": "invoke_agent",
}
_SUBJECTS: Final = {
    "execute_tool": model_keys.TOOL,
    "invoke_agent": model_keys.AGENT,
    "create_agent": model_keys.AGENT,
    "retrieval": None,
}
"""Payload keys for the second part of a span's name, by operation, where it is not the requested model."""
_INTERNAL: Final = frozenset({"execute_tool", "invoke_agent", "invoke_workflow", "plan"})
"""Operations inside this process; all others are calls to a client."""
_TABLE: Final = {
    model_keys.PROVIDER: Field("gen_ai.provider.name", text),
    model_keys.MODEL: Field("gen_ai.request.model", text),
    model_keys.RESPONSE_MODEL: Field("gen_ai.response.model", text),
    model_keys.REQUEST_ID: Field("gen_ai.response.id", text),
    model_keys.FINISH_REASON: Field("gen_ai.response.finish_reasons", texts),
    model_keys.CONVERSATION_ID: Field("gen_ai.conversation.id", text),
    model_keys.USER_ID: Field("user.id", text),
    model_keys.AGENT: Field("gen_ai.agent.name", text),
    model_keys.TOOL: Field("gen_ai.tool.name", text),
    model_keys.TOOL_CALL_ID: Field("gen_ai.tool.call.id", text),
    model_keys.SERVER_ADDRESS: Field("server.address", text),
    model_keys.SERVER_PORT: Field("server.port", whole),
    model_keys.INPUT_TOKENS: Field("gen_ai.usage.input_tokens", whole),
    model_keys.CACHED_INPUT_TOKENS: Field("gen_ai.usage.cache_read.input_tokens", whole),
    model_keys.CACHE_WRITE_TOKENS: Field("gen_ai.usage.cache_write.input_tokens", whole),
    model_keys.OUTPUT_TOKENS: Field("gen_ai.usage.output_tokens", whole),
    model_keys.REASONING_TOKENS: Field("gen_ai.usage.reasoning.output_tokens", whole),
    model_keys.TIME_TO_FIRST_CHUNK_S: Field("gen_ai.response.time_to_first_chunk", real),
    model_keys.TEMPERATURE: Field("gen_ai.request.temperature", real),
    model_keys.TOP_P: Field("gen_ai.request.top_p", real),
    model_keys.TOP_K: Field("gen_ai.request.top_k", whole),
    model_keys.MAX_TOKENS: Field("gen_ai.request.max_tokens", whole),
    model_keys.SEED: Field("gen_ai.request.seed", whole),
    model_keys.STREAM: Field("gen_ai.request.stream", flag),
}
_RETRIEVAL: Final = _TABLE | {model_keys.TOP_K: Field("gen_ai.retrieval.top_k", whole)}


def describe_gen_ai(
    event: Event, rules: Rules, with_content: bool
) -> tuple[dict[str, AttributeValue], frozenset[str]]:
    """Return the conventions' attributes of `event`, and the payload keys that these cover.

    Only an event of a kind that they know, or whose payload has the key ``operation``, is theirs.
    """
    payload = event.payload
    operation = operation_of(event, rules)
    if operation is None:
        return {}, frozenset()
    table = _RETRIEVAL if operation == "retrieval" else _TABLE
    attributes, used = fields(payload, table, rules)
    attributes["gen_ai.operation.name"] = operation
    attributes["spanloom.name"] = plain_text(event.name)  # the span has another one
    if with_content:
        _add_content(attributes, event, rules)
    return attributes, frozenset(used | {model_keys.OPERATION})


def operation_of(event: Event, rules: Rules) -> str | None:
    """Return the conventions' name of the operation that `event` is; ``None`` if they do not cover it."""
    operation = text(event.payload.get(model_keys.OPERATION), rules.max_text)
    return operation or _OPERATIONS.get(event.type)


def entitle_gen_ai(event: Event, rules: Rules) -> tuple[str, SpanKind] | None:
    """Return name and kind of the span of `event` by the conventions; ``None`` if they do not cover it.

    The name is ``{operation} {model}``, of tools and agents ``{operation} {their name}``.
    """
    operation = operation_of(event, rules)
    if operation is None:
        return None
    key = _SUBJECTS.get(operation, model_keys.MODEL)
    subject = None if key is None else text(event.payload.get(key), rules.max_text)
    kind = SpanKind.INTERNAL if operation in _INTERNAL else SpanKind.CLIENT
    return (operation if subject is None else f"{operation} {subject}"), kind


def _add_content(attributes: dict[str, AttributeValue], event: Event, rules: Rules) -> None:
    payload, limit = event.payload, rules.max_content
    for attribute, keys, role in (
        ("gen_ai.input.messages", (model_keys.MESSAGES, model_keys.PROMPT, model_keys.INPUT), "user"),
        ("gen_ai.output.messages", (model_keys.OUTPUT, model_keys.COMPLETION), "assistant"),
    ):
        value = first(payload, keys)
        if value is not None:
            attributes[attribute] = parts_json(messages(value, role), limit)
    system = payload.get(model_keys.SYSTEM)
    if system is not None:
        attributes["gen_ai.system_instructions"] = parts_json(messages(system, "system")[0]["parts"], limit)
    for key, attribute in (
        (model_keys.ARGUMENTS, "gen_ai.tool.call.arguments"),
        (model_keys.RESULT, "gen_ai.tool.call.result"),
        (model_keys.QUERY, "gen_ai.retrieval.query.text"),
        (model_keys.DOCUMENTS, "gen_ai.retrieval.documents"),
    ):
        if payload.get(key) is not None:
            attributes[attribute] = content_text(payload[key], limit)[0]
