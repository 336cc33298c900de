"""Metadata of an answer of openai's or anthropic's API as payload keys; never its contents.

The same facts stand in the classes of both libraries, in the JSON that raw answers are read as, and in the chunks of
streamed ones: model, tokens and why the model stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from spanloom.events import model_keys

__all__ = ["answered", "streamed"]

# Any: answers are the libraries' classes, which are not imported here, and JSON.

_DETAILS: Final = (
    ("prompt_tokens_details", "cached_tokens", model_keys.CACHED_INPUT_TOKENS),
    ("input_tokens_details", "cached_tokens", model_keys.CACHED_INPUT_TOKENS),
    ("completion_tokens_details", "reasoning_tokens", model_keys.REASONING_TOKENS),
    ("output_tokens_details", "reasoning_tokens", model_keys.REASONING_TOKENS),
    ("output_tokens_details", "thinking_tokens", model_keys.REASONING_TOKENS),
)
_OPEN: Final = frozenset({"queued", "in_progress"})
"""Statuses of openai's Responses before they are complete."""


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Answer(msgspec.Struct):
    """The fields that are read of an answer's JSON; all others, the contents, are skipped by the decoder."""

    model: str | None = None
    usage: dict[str, Any] | None = None
    choices: list[_Choice] | None = None
    stop_reason: str | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


def answered(answer: object) -> dict[str, object]:
    """Return the metadata of `answer`: model, tokens, finish reason, request id.

    Args:
        answer: An object of the library's, or the body of a raw answer, which may be anything.
    """
    if isinstance(answer, bytes):
        try:
            answer = _decode(answer)
        except msgspec.DecodeError:  # no JSON, or no such answer
            return {}
    found: dict[str, object] = {}
    _add_text(found, model_keys.RESPONSE_MODEL, _get(answer, "model"))
    _add_text(found, model_keys.REQUEST_ID, _get(answer, "_request_id"))
    _add_tokens(found, _get(answer, "usage"))
    reasons = _reasons(answer)
    if reasons:
        found[model_keys.FINISH_REASON] = reasons[0] if len(reasons) == 1 else reasons
    return found


def streamed(chunk: object) -> dict[str, object]:
    """Return the metadata of the whole answer that a chunk of a stream has."""
    kind = _get(chunk, "type")
    if not isinstance(kind, str):  # a chunk of openai's chat completions is shaped like the whole answer
        return answered(chunk)
    if kind == "message_start":
        return answered(_get(chunk, "message"))
    if kind == "message_delta":
        found = answered(_get(chunk, "delta"))
        _add_tokens(found, _get(chunk, "usage"))
        return found
    return answered(_get(chunk, "response")) if kind.startswith("response.") else {}


def _reasons(answer: object) -> list[str]:
    choices = _get(answer, "choices")
    if isinstance(choices, list):
        reasons = [_get(choice, "finish_reason") for choice in choices]
        return [reason for reason in reasons if isinstance(reason, str)]
    status = _get(answer, "status")
    for reason in (
        _get(answer, "stop_reason"),
        _get(_get(answer, "incomplete_details"), "reason"),
        None if status in _OPEN else status,
    ):
        if isinstance(reason, str):
            return [reason]
    return []


def _add_tokens(found: dict[str, object], usage: object) -> None:
    if usage is None:
        return
    cached = _number(usage, "cache_read_input_tokens")
    written = _number(usage, "cache_creation_input_tokens")
    tokens: dict[str, int | None] = {
        model_keys.CACHED_INPUT_TOKENS: cached,
        model_keys.CACHE_WRITE_TOKENS: written,
        model_keys.OUTPUT_TOKENS: _either(usage, "output_tokens", "completion_tokens"),
        model_keys.TOTAL_TOKENS: _number(usage, "total_tokens"),
    }
    taken = _either(usage, "input_tokens", "prompt_tokens")
    if taken is not None:  # anthropic counts cached tokens separately
        tokens[model_keys.INPUT_TOKENS] = taken + (cached or 0) + (written or 0)
    for part, name, key in _DETAILS:
        number = _number(_get(usage, part), name)
        if number is not None:
            tokens[key] = number
    found.update((key, number) for key, number in tokens.items() if number is not None)


def _get(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _number(value: object, name: str) -> int | None:
    number = _get(value, name)
    return number if type(number) is int else None


def _either(value: object, name: str, other: str) -> int | None:
    number = _number(value, name)
    return _number(value, other) if number is None else number


def _add_text(found: dict[str, object], key: str, value: object) -> None:
    if isinstance(value, str):
        found[key] = value
