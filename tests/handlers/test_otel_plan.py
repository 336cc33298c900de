"""Which way spans are built, decided by looking at the provider."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NoOpTracerProvider, Tracer
from opentelemetry.trace import TracerProvider as AnyTracerProvider

from spanloom.callbacks import CallbackManager
from spanloom.handlers.otel import OpenTelemetryHandler
from spanloom.handlers.otel._plan import Plan, exporter_of, is_otlp, look_at
from spanloom.handlers.otel._traces import follows_root


def simple() -> SimpleSpanProcessor:
    return SimpleSpanProcessor(InMemorySpanExporter())


def provider_of(*processors: SpanProcessor, **options: Any) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False, **options)
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def plan_of(provider: AnyTracerProvider) -> Plan:
    tracer = provider.get_tracer("spanloom")
    sampler = getattr(tracer, "sampler", None)
    return look_at(tracer, follows_root=sampler is None or follows_root(sampler))


class Stamps(SpanProcessor):
    """Puts an attribute on every span, as many people's processors do."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        span.set_attribute("stamp", True)


class MyBatch(BatchSpanProcessor):
    """A subclass may do anything."""


class MySimple(SimpleSpanProcessor):
    """The same."""


class Asked(Sampler):
    """Decides by name."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "Asked"


class Ids(IdGenerator):
    """Ids of another kind; those of events are their own either way."""

    def generate_span_id(self) -> int:
        return 1

    def generate_trace_id(self) -> int:
        return 2


@pytest.mark.parametrize(
    "sampler",
    [None, ALWAYS_ON, ALWAYS_OFF, DEFAULT_ON, DEFAULT_OFF, TraceIdRatioBased(0.1), ParentBased(ALWAYS_ON)],
)
def test_the_samplers_of_the_environment_are_lean(sampler: Sampler | None) -> None:
    """What `OTEL_TRACES_SAMPLER` can name says of a child what it said of the root."""
    assert plan_of(provider_of(simple(), sampler=sampler)).way == "lean"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"span_limits": SpanLimits(max_span_attributes=1, max_attribute_length=3)},
        {"id_generator": Ids()},
        {"active_span_processor": ConcurrentMultiSpanProcessor()},
    ],
)
def test_plain_processors_are_lean(options: dict[str, Any]) -> None:
    """Limits, id generators and ways to call several processors make no difference."""
    inner = SynchronousMultiSpanProcessor()
    leaves = simple(), simple(), SimpleSpanProcessor(ConsoleSpanExporter())
    inner.add_span_processor(leaves[1])
    plan = plan_of(provider_of(leaves[0], inner, leaves[2], **options))
    assert (plan.way, plan.processors) == ("lean", leaves)


def test_no_processor_at_all_is_lean() -> None:
    """Spans that nobody wants need no tracer either."""
    assert plan_of(provider_of()) == Plan("lean", "the processors only pass finished spans on", ())


def patched_processor() -> TracerProvider:
    processor = simple()
    processor.on_start = lambda *_, **__: None  # type: ignore[method-assign]  # as tests of users' do
    return provider_of(processor)


def patched_multi() -> TracerProvider:
    provider = provider_of(simple())
    provider._active_span_processor.on_end = lambda _: None  # type: ignore[method-assign]  # the same
    return provider


def patched_tracer() -> TracerProvider:
    provider = provider_of(simple())
    tracer: Any = provider.get_tracer("spanloom")
    tracer.start_span = tracer.start_span
    return provider


def measured() -> TracerProvider:
    return provider_of(simple(), meter_provider=MeterProvider(shutdown_on_exit=False))


def switched_off() -> TracerProvider:
    provider = provider_of(simple())
    tracer: Any = provider.get_tracer("spanloom")
    tracer._tracer_config.is_enabled = False
    return provider


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: provider_of(simple(), Stamps()), "Stamps may look at spans"),
        (lambda: provider_of(MySimple(InMemorySpanExporter())), "MySimple"),
        (lambda: provider_of(simple(), sampler=Asked()), "sampler Asked is asked about every span"),
        (
            lambda: provider_of(simple(), sampler=ParentBased(ALWAYS_ON, local_parent_sampled=Asked())),
            "sampler",
        ),
        (patched_processor, "method of a SimpleSpanProcessor is replaced"),
        (patched_multi, "SynchronousMultiSpanProcessor"),
        (patched_tracer, "start_span of the tracer is patched"),
        (switched_off, "switched off"),
    ],
)
def test_what_may_make_a_difference_takes_the_sdk_s_way(
    make: Callable[[], TracerProvider], words: str
) -> None:
    """A processor, sampler or tracer that is not known to be harmless is named as the reason."""
    plan = plan_of(make())
    assert plan.way == "sdk"
    assert words in plan.reason


def test_a_subclass_of_the_batch_processor_takes_the_sdk_s_way() -> None:
    """Only the SDK's own class is known not to look at open spans."""
    processor = MyBatch(InMemorySpanExporter())
    assert plan_of(provider_of(processor)).way == "sdk"
    processor.shutdown()


def test_spans_that_the_sdk_counts_take_the_sdk_s_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's internal metrics of started and live spans stay right."""
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    plan = plan_of(measured())
    assert (plan.way, plan.reason) == ("sdk", "the SDK's internal metrics count its spans")


def test_other_implementations_are_foreign() -> None:
    """A tracer that is not the SDK's makes its spans itself."""

    class Other(Tracer):
        start_span = start_as_current_span = None  # type: ignore[assignment]  # never called

    class Provider(AnyTracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
            return Other()

    assert str(plan_of(Provider())) == "foreign: Other is not the SDK's tracer"


def test_a_disabled_sdk_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OTEL_SDK_DISABLED` makes a provider whose tracers do nothing; so do we."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    exporter = InMemorySpanExporter()
    provider = provider_of(SimpleSpanProcessor(exporter))
    handler = OpenTelemetryHandler(provider)
    manager = CallbackManager([handler], raise_handler_errors=True)
    with manager.event(name="step"):
        manager.emit()
    manager.close()
    assert plan_of(provider).way == plan_of(NoOpTracerProvider()).way == "off"
    assert exporter.get_finished_spans() == ()


# exporters -----------------------------------------------------------------------------------------------


class MyExporter(HttpExporter):
    """A subclass may change spans on their way."""


@pytest.mark.parametrize("kind", [HttpExporter, GrpcExporter])
def test_the_sdk_s_otlp_exporters_are_known(kind: Any) -> None:
    """Exactly they can be replaced by bytes of our own."""
    exporter = kind()
    assert is_otlp(exporter)
    assert exporter_of(SimpleSpanProcessor(exporter)) is exporter
    exporter.export = lambda spans: None
    assert not is_otlp(exporter)
    exporter.shutdown()


def test_other_exporters_get_span_objects() -> None:
    """Neither a subclass nor anybody else's exporter is taken for the SDK's, nor one behind another processor."""
    assert not is_otlp(MyExporter())
    assert not is_otlp(InMemorySpanExporter())
    assert not is_otlp(None)
    assert exporter_of(Stamps()) is None
    assert exporter_of(MySimple(HttpExporter())) is None


# the handler says so ---------------------------------------------------------------------------------------


def test_the_handler_tells_its_way_once(caplog: pytest.LogCaptureFixture) -> None:
    """`path` says which way and why; the log says it at level DEBUG, once for as long as it holds."""
    provider = provider_of(simple())
    handler = OpenTelemetryHandler(provider)
    assert handler.path is None
    manager = CallbackManager([handler], raise_handler_errors=True)
    with caplog.at_level(logging.DEBUG, "spanloom.handlers.otel"):
        for _ in range(3):
            with manager.event(name="step"):
                pass
            manager.flush(5)
    assert handler.path == "lean: the processors only pass finished spans on"
    assert [record.getMessage() for record in caplog.records] == [f"spans are built the way {handler.path}"]
    manager.close()


def test_a_processor_that_is_added_later_changes_the_way() -> None:
    """What it does to spans is on those that end from then on."""
    exporter = InMemorySpanExporter()
    provider = provider_of(SimpleSpanProcessor(exporter))
    handler = OpenTelemetryHandler(provider)
    manager = CallbackManager([handler], raise_handler_errors=True)

    def stamps() -> list[bool]:
        with manager.event(name="step"):
            pass
        manager.flush(5)
        spans: tuple[ReadableSpan, ...] = exporter.get_finished_spans()
        return ["stamp" in (span.attributes or {}) for span in spans]

    assert stamps() == [False]
    provider.add_span_processor(Stamps())
    assert stamps() == [False, True]
    assert str(handler.path).startswith("sdk: the processor Stamps")
    later = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(later))
    assert stamps() == [False, True, True]
    assert len(later.get_finished_spans()) == 1
    manager.close()


def test_static_samplers_of_the_user_s_are_lean() -> None:
    """A sampler that is one of the SDK's classes, with arguments of the user's, follows the root."""
    assert plan_of(provider_of(simple(), sampler=StaticSampler(Decision.RECORD_ONLY))).way == "lean"
