"""The part of a payload that spanloom itself writes: a record without payloads keeps only that."""

from __future__ import annotations

from typing import Final

from spanloom.events import http_keys, keys, model_keys
from spanloom.events.types import EventType

__all__ = ["own_payload"]

_OF_MODELS: Final = (
    model_keys.PROVIDER,
    model_keys.MODEL,
    model_keys.RESPONSE_MODEL,
    model_keys.REQUEST_ID,
    model_keys.FINISH_REASON,
    model_keys.INPUT_TOKENS,
    model_keys.CACHED_INPUT_TOKENS,
    model_keys.CACHE_WRITE_TOKENS,
    model_keys.OUTPUT_TOKENS,
    model_keys.REASONING_TOKENS,
    model_keys.TOTAL_TOKENS,
    model_keys.STREAM,
    model_keys.TIME_TO_FIRST_CHUNK_S,
)
"""Keys that the targets of `spanloom.instrument` write about a model's answer."""
_OF_REQUESTS: Final = (
    http_keys.METHOD,
    http_keys.SERVER_ADDRESS,
    http_keys.SERVER_PORT,
    http_keys.STATUS_CODE,
    http_keys.RETRY_AFTER_S,
    http_keys.REDIRECTS,
)
_OWN_KEYS: Final = {
    EventType.LLM.value: _OF_MODELS,
    EventType.EMBEDDING.value: _OF_MODELS,
    EventType.REQUEST.value: _OF_REQUESTS,
    EventType.BATCH.value: (keys.RUNNER, keys.LIMIT),
    EventType.SLOT_WAIT.value: (keys.LIMITER,),
    EventType.BACKOFF.value: (keys.DELAY_S, keys.ERROR),
    EventType.STALL.value: (keys.STALLED_S, keys.FINDINGS),
    EventType.LOOP_LAG.value: (keys.HELD_S, keys.LOCATION),
}
_OWN_OF_LINK: Final = ("trace_id", "event_id", "flags")


def own_payload(type_: str, data: dict[str, object]) -> dict[str, object]:
    """Return spanloom's own keys, with their values, of the payload `data` of an event of that type."""
    own = {key: data[key] for key in _OWN_KEYS.get(type_, ()) if key in data}
    links = data.get(keys.LINKS)
    if type(links) is list:
        own[keys.LINKS] = [
            {key: link[key] for key in _OWN_OF_LINK if key in link} for link in links if type(link) is dict
        ]
    return own
