"""Conversion of an answer of google-genai's client into an `LLMResponse`."""

from __future__ import annotations

import logging
from typing import Any

from spanloom.compat._async_batch_llm.models import LLMResponse

__all__ = ["response_of"]

_log = logging.getLogger(__name__)


def response_of(answer: Any) -> LLMResponse:  # google-genai's GenerateContentResponse
    """Return `answer` as an `LLMResponse`.

    Raises:
        ValueError: it has no text, as when a safety filter has blocked it.
    """
    metadata = _extract_metadata(answer)
    if answer.text is None:
        ratings = (metadata or {}).get("safety_ratings")
        told = f" Safety ratings: {ratings}" if ratings else ""
        raise ValueError(f"Empty response from model (likely blocked by safety filter).{told}")
    spent, said, total, cached = _extract_tokens(answer)
    return LLMResponse(answer.text, spent, said, total, cached, metadata, answer)


def _extract_tokens(answer: Any) -> tuple[int, int, int, int]:  # see response_of
    usage = getattr(answer, "usage_metadata", None)
    if usage is None:
        _log.debug("%s has no usage_metadata: its tokens count as none", type(answer).__name__)
    spent, said, total, cached = (
        getattr(usage, f"{name}_token_count", 0) or 0
        for name in ("prompt", "candidates", "total", "cached_content")
    )
    return spent, said, total, cached


def _extract_metadata(answer: Any) -> dict[str, Any] | None:  # see response_of
    """Return the safety ratings and the finish reason, if there are any."""
    metadata: dict[str, Any] = {}
    try:
        for candidate in (answer.candidates or ())[:1]:
            ratings = getattr(candidate, "safety_ratings", None)
            if ratings:
                metadata["safety_ratings"] = {str(one.category): str(one.probability) for one in ratings}
            reason = getattr(candidate, "finish_reason", None)
            if reason:
                metadata["finish_reason"] = str(reason)
    except Exception:  # noqa: BLE001 -- the answer must not be lost for its metadata
        _log.warning("cannot read the metadata of an answer", exc_info=True)
    return metadata or None
