"""The profile ``gen_ai``: spans named and metrics made as the conventions say, whichever way they are built."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind

from spanloom.callbacks import get_callback_manager, use_callback_manager
from spanloom.concurrency.map import async_map
from spanloom.events import EventType
from tests.handlers.otel_setup import Setup

ways = pytest.mark.parametrize("way", ["lean", "sdk"])


class Watching(SpanProcessor):
    """A processor that might do anything, so spans take the SDK's way."""


def setup_for(way: str, **options: Any) -> Setup:
    setup = Setup(profile="gen_ai", **options)
    if way == "sdk":
        setup.provider.add_span_processor(Watching())
    return setup


@ways
@pytest.mark.parametrize(
    ("type", "payload", "name", "kind"),
    [
        (EventType.LLM, {"model": "gpt-x"}, "chat gpt-x", SpanKind.CLIENT),
        (EventType.LLM, {"model": "m", "operation": "text_completion"}, "text_completion m", SpanKind.CLIENT),
        (EventType.LLM, {}, "chat", SpanKind.CLIENT),
        (EventType.EMBEDDING, {"model": "e"}, "embeddings e", SpanKind.CLIENT),
        (EventType.RETRIEVE, {"model": "e"}, "retrieval", SpanKind.CLIENT),
        (EventType.TOOL, {"tool": "search", "model": "m"}, "execute_tool search", SpanKind.INTERNAL),
        ("agent", {"agent": "planner"}, "invoke_agent planner", SpanKind.INTERNAL),
        (EventType.STEP, {"model": "m"}, "mine", SpanKind.INTERNAL),
    ],
)
def test_a_span_has_the_name_and_kind_of_its_operation(
    way: str, type: str, payload: dict[str, object], name: str, kind: SpanKind
) -> None:
    """What the event itself is called is an attribute then; an event that is no operation stays as it is."""
    setup = setup_for(way)
    with setup.manager.event(type, payload, name="mine"):
        pass
    (span,) = setup.spans()
    assert (span.name, span.kind) == (name, kind)
    assert dict(span.attributes or {}).get("spanloom.name") == (None if name == "mine" else "mine")


@ways
def test_what_becomes_known_on_the_way_is_in_the_name(way: str) -> None:
    """The name is that of the end; a job that is no operation keeps the name of its function."""
    setup = setup_for(way)

    async def ask(_: int) -> None:
        with get_callback_manager().event(EventType.LLM) as call:
            call.set(model="late")

    setup.run(async_map(ask, range(2), desc="batch"))
    found = sorted((span.name.rpartition(".")[2], span.kind.name) for span in setup.spans())
    assert found == [("ask", "INTERNAL")] * 2 + [("batch", "INTERNAL")] + [("chat late", "CLIENT")] * 2


def test_the_name_that_user_code_gives_is_the_last_word() -> None:
    """`update_name` on the current span is kept."""
    from opentelemetry import trace

    setup = setup_for("lean")
    with use_callback_manager(setup.manager), setup.manager.event(EventType.LLM, {"model": "m"}):
        trace.get_current_span().update_name("theirs")
    (span,) = setup.spans()
    assert (span.name, span.kind) == ("theirs", SpanKind.CLIENT)


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data: Any = reader.get_metrics_data()
    return [
        point
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def test_operations_are_measured_as_the_conventions_say() -> None:
    """Durations with the type of their error, and tokens by type, in the buckets that the conventions name."""
    reader = InMemoryMetricReader()
    setup = setup_for("lean", meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    about = {"model": "m", "provider": "p", "response_model": "m-1", "input_tokens": 14, "output_tokens": 3}
    for _ in range(3):
        with setup.manager.event(EventType.LLM, about):
            pass
    with pytest.raises(ConnectionError), setup.manager.event(EventType.EMBEDDING, {"model": "e"}):
        raise ConnectionError
    with setup.manager.event(name="no operation"):
        pass
    setup.spans()
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "p",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-1",
    }
    durations = {
        point.attributes["gen_ai.operation.name"]: point
        for point in points(reader, "gen_ai.client.operation.duration")
    }
    assert {name: point.count for name, point in durations.items()} == {"chat": 3, "embeddings": 1}
    assert dict(durations["chat"].attributes) == common
    assert durations["embeddings"].attributes["error.type"] == "ConnectionError"
    assert durations["chat"].explicit_bounds == (
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    )  # fmt: skip
    tokens = {
        point.attributes["gen_ai.token.type"]: point for point in points(reader, "gen_ai.client.token.usage")
    }
    assert {kind: (point.count, point.sum) for kind, point in tokens.items()} == {
        "input": (3, 42),
        "output": (3, 9),
    }
    assert dict(tokens["input"].attributes) == {**common, "gen_ai.token.type": "input"}
    assert tokens["input"].explicit_bounds == (
        1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864,
    )  # fmt: skip


def test_no_other_profile_has_these_metrics() -> None:
    """They come with the words."""
    reader = InMemoryMetricReader()
    setup = Setup(meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    with setup.manager.event(EventType.LLM, {"model": "m", "input_tokens": 1}):
        pass
    (span,) = setup.spans()
    assert isinstance(span, ReadableSpan)
    assert (span.name, span.kind) == ("llm", SpanKind.INTERNAL)
    assert points(reader, "gen_ai.client.operation.duration") == []
