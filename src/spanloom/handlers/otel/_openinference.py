"""The profile ``openinference``: the attributes that Phoenix, Arize and their kin look for.

Source: https://github.com/Arize-ai/openinference, spec/semantic_conventions.md, as in the package
openinference-semantic-conventions 0.1.42.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.util.types import AttributeValue

from spanloom.events import Event, EventType, model_keys
from spanloom.handlers.otel._content import content_text, messages
from spanloom.handlers.otel._profiles import Field, Rules, fields, first, real, text, texts, whole

__all__ = ["SEMCONV_OPENINFERENCE", "describe_openinference"]

SEMCONV_OPENINFERENCE: Final = "0.1.42"
"""Version of the package that names the attributes."""

MAX_MESSAGES: Final = 16
"""Messages of one span that get attributes of their own, two each; the SDK's own limit is 128 attributes."""

_KINDS: Final = {
    EventType.LLM: "LLM",
    EventType.EMBEDDING: "EMBEDDING",
    EventType.RETRIEVE: "RETRIEVER",
    EventType.TOOL: "TOOL",
    "agent": "AGENT",
    "reranker": "RERANKER",
    "guardrail": "GUARDRAIL",
    "evaluator": "EVALUATOR",
    "prompt": "PROMPT",
}
_KIND: Final = "openinference.span.kind"
"""Required on every span; an event without a kind of its own is a ``CHAIN``."""

_ANY: Final = {
    model_keys.CONVERSATION_ID: Field("session.id", text),
    model_keys.USER_ID: Field("user.id", text),
    model_keys.AGENT: Field("agent.name", text),
}
_LLM: Final = _ANY | {
    model_keys.PROVIDER: Field("llm.provider", text),
    model_keys.MODEL: Field("llm.model_name", text),
    model_keys.RESPONSE_MODEL: Field("llm.response.model_name", text),
    model_keys.INPUT_TOKENS: Field("llm.token_count.prompt", whole),
    model_keys.CACHED_INPUT_TOKENS: Field("llm.token_count.prompt_details.cache_read", whole),
    model_keys.CACHE_WRITE_TOKENS: Field("llm.token_count.prompt_details.cache_write", whole),
    model_keys.OUTPUT_TOKENS: Field("llm.token_count.completion", whole),
    model_keys.REASONING_TOKENS: Field("llm.token_count.completion_details.reasoning", whole),
    model_keys.TOTAL_TOKENS: Field("llm.token_count.total", whole),
    model_keys.COST_USD: Field("llm.cost.total", real),
}
_SETTINGS: Final = (
    model_keys.MODEL,
    model_keys.TEMPERATURE,
    model_keys.TOP_P,
    model_keys.TOP_K,
    model_keys.MAX_TOKENS,
    model_keys.SEED,
    model_keys.STREAM,
)
_TABLES: Final = {
    "LLM": _LLM,
    "EMBEDDING": _LLM | {model_keys.MODEL: Field("embedding.model_name", text)},
    "TOOL": _ANY
    | {model_keys.TOOL: Field("tool.name", text), model_keys.TOOL_CALL_ID: Field("tool.id", text)},
}
_INPUTS: Final = (
    model_keys.MESSAGES,
    model_keys.PROMPT,
    model_keys.INPUT,
    model_keys.QUERY,
    model_keys.ARGUMENTS,
)
_OUTPUTS: Final = (model_keys.OUTPUT, model_keys.COMPLETION, model_keys.RESULT, model_keys.DOCUMENTS)


def describe_openinference(
    event: Event, rules: Rules, with_content: bool
) -> tuple[dict[str, AttributeValue], frozenset[str]]:
    """Return OpenInference's attributes of `event`, and the payload keys that these cover."""
    kind = _KINDS.get(event.type, "CHAIN")
    attributes: dict[str, AttributeValue] = {_KIND: kind}
    if not event.data:
        return attributes, frozenset()
    payload = event.payload
    found, used = fields(payload, _TABLES.get(kind, _ANY), rules)
    attributes.update(found)
    if kind in ("LLM", "EMBEDDING"):
        settings = {key: payload[key] for key in _SETTINGS if isinstance(payload.get(key), (str, int, float))}
        if len(settings) > (model_keys.MODEL in settings):
            name = "llm" if kind == "LLM" else "embedding"
            attributes[f"{name}.invocation_parameters"] = content_text(settings, rules.max_text)[0]
            used.update(settings)
    reasons = texts(payload.get(model_keys.FINISH_REASON), rules.max_text)
    if kind == "LLM" and reasons:
        attributes["llm.finish_reason"] = reasons[0]
        used.add(model_keys.FINISH_REASON)
    if with_content:
        _add_content(attributes, event, kind, rules)
    return attributes, frozenset(used)


def _add_content(attributes: dict[str, AttributeValue], event: Event, kind: str, rules: Rules) -> None:
    payload, limit = event.payload, rules.max_content
    for side, keys, role in (("input", _INPUTS, "user"), ("output", _OUTPUTS, "assistant")):
        value = first(payload, keys)
        if value is None:
            continue
        content, is_json = content_text(value, limit)
        attributes[f"{side}.value"] = content
        attributes[f"{side}.mime_type"] = "application/json" if is_json else "text/plain"
        if kind == "LLM":
            listed = messages(value, role)
            if side == "input" and payload.get(model_keys.SYSTEM) is not None:
                listed = [*messages(payload[model_keys.SYSTEM], "system"), *listed]
            for index, message in enumerate(listed[:MAX_MESSAGES]):
                name = f"llm.{side}_messages.{index}.message"
                attributes[f"{name}.role"] = text(message["role"], rules.max_text) or role
                attributes[f"{name}.content"] = _text_of(message["parts"], limit // MAX_MESSAGES)


def _text_of(parts: object, limit: int) -> str:
    first = parts[0] if isinstance(parts, (list, tuple)) and len(parts) == 1 else None
    if type(first) is dict and first.get("type") == "text" and isinstance(first.get("content"), str):
        return content_text(first["content"], limit)[0]
    return content_text(parts, limit)[0]
