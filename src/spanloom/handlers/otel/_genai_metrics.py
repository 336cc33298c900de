"""The metrics of the profile ``gen_ai``: how long calls of a model took, and how many tokens went in and out.

Source: as of `_genai.py`, docs/gen-ai/gen-ai-metrics.md, buckets included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry.metrics import Meter
from opentelemetry.util.types import AttributeValue

from spanloom.events import Event, EventStatus, model_keys
from spanloom.handlers.otel._genai import operation_of
from spanloom.handlers.otel._histograms import make_histogram, recorder_of
from spanloom.handlers.otel._plain import plain_text
from spanloom.handlers.otel._profiles import Field, Rules, fields, text, whole

__all__ = ["GenAiMetrics"]

DURATION_BOUNDARIES_S: Final = tuple(0.01 * 2**power for power in range(14))
TOKEN_BOUNDARIES: Final = tuple(float(4**power) for power in range(14))

_TOLD_APART: Final = {
    model_keys.PROVIDER: Field("gen_ai.provider.name", text),
    model_keys.MODEL: Field("gen_ai.request.model", text),
    model_keys.RESPONSE_MODEL: Field("gen_ai.response.model", text),
    model_keys.SERVER_ADDRESS: Field("server.address", text),
    model_keys.SERVER_PORT: Field("server.port", whole),
}
_TOKENS: Final = ((model_keys.INPUT_TOKENS, "input"), (model_keys.OUTPUT_TOKENS, "output"))


class GenAiMetrics:
    """The instruments of the profile.

    Args:
        rules: What is recorded of payloads.
        meter: Makes them.
    """

    def __init__(self, rules: Rules, meter: Meter) -> None:
        self._rules = rules
        self._duration = recorder_of(
            make_histogram(
                meter,
                "gen_ai.client.operation.duration",
                "GenAI operation duration.",
                boundaries=DURATION_BOUNDARIES_S,
            )
        )
        self._tokens = recorder_of(
            make_histogram(
                meter,
                "gen_ai.client.token.usage",
                "Number of input and output tokens used.",
                unit="{token}",
                boundaries=TOKEN_BOUNDARIES,
            )
        )

    def record(self, events: Sequence[Event]) -> None:
        """Account for those of the ended `events` that the conventions know."""
        durations: dict[tuple[tuple[str, AttributeValue], ...], list[float]] = {}
        tokens: dict[tuple[tuple[str, AttributeValue], ...], list[float]] = {}
        for event in events:
            if event.end_ns is None or event.is_point:
                continue
            operation = operation_of(event, self._rules)
            if operation is None:
                continue
            attributes, _ = fields(event.payload, _TOLD_APART, self._rules)
            attributes["gen_ai.operation.name"] = operation
            for key, kind in _TOKENS:
                count = whole(event.payload.get(key), self._rules.max_text)
                if count is not None and count >= 0:
                    told_apart = tuple({**attributes, "gen_ai.token.type": kind}.items())
                    tokens.setdefault(told_apart, []).append(count)
            if event.error is not None and event.status != EventStatus.CANCELLED:
                attributes["error.type"] = plain_text(event.error.type)
            elif event.status == EventStatus.TIMEOUT:
                attributes["error.type"] = "timeout"
            durations.setdefault(tuple(attributes.items()), []).append((event.end_ns - event.start_ns) / 1e9)
        for told_apart, seconds in durations.items():
            self._duration(seconds, dict(told_apart))
        for told_apart, counts in tokens.items():
            self._tokens(counts, dict(told_apart))
