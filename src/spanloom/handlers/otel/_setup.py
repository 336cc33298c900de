"""Where spans and metrics go: providers that were given, the global ones, or our own from the environment."""

from __future__ import annotations

import importlib
import os
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import ProxyTracerProvider, TracerProvider

from spanloom.exceptions import MissingDependencyError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = [
    "Helper",
    "endpoint_is_set",
    "export_is_off",
    "global_meter_provider",
    "global_tracer_provider",
    "load_exporter",
    "make_provider",
    "queue_size",
]

_EXPORTERS: Final = {
    "http/protobuf": ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "otlp"),
    "grpc": ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "otlp-grpc"),
}
_DEFAULT_QUEUE: Final = 2048
"""The SDK's default of ``OTEL_BSP_MAX_QUEUE_SIZE``."""


def _environment(*names: str) -> str:
    """Return the first of these variables that is not empty; an empty one counts as unset, says the specification."""
    return next((value for name in names if (value := os.environ.get(name, "").strip())), "")


def export_is_off() -> bool:
    """Return whether the environment says to send no spans."""
    return (
        _environment("OTEL_SDK_DISABLED").lower() == "true" or _environment("OTEL_TRACES_EXPORTER") == "none"
    )


def endpoint_is_set() -> bool:
    """Return whether the environment says where to send spans, and does not say to send none."""
    if export_is_off():
        return False
    return names_other_exporters() or bool(
        _environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )


def names_other_exporters() -> bool:
    """Return whether ``OTEL_TRACES_EXPORTER`` names more, or others, than OTLP."""
    return _environment("OTEL_TRACES_EXPORTER").lower() not in {"", "otlp", "none"}


def load_exporter(protocol: str = "") -> type[SpanExporter]:
    """Return the class of the OTLP exporter for `protocol`, or for the one that the environment names.

    Raises:
        MissingDependencyError: its package is not installed.
        ValueError: there is no such protocol.
    """
    protocol = (
        protocol
        or _environment("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    if protocol not in _EXPORTERS:
        allowed = " or ".join(_EXPORTERS)
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; spans can be sent by {allowed}")
    module, extra = _EXPORTERS[protocol]
    try:
        return cast("type[SpanExporter]", importlib.import_module(module).OTLPSpanExporter)
    except ImportError as error:
        raise MissingDependencyError(
            f"spans are to be sent, but the OTLP exporter for {protocol} is not installed: "
            f"pip install 'spanloom[{extra}]'"
        ) from error


def make_provider(exporter: SpanExporter, *, has_queue: bool) -> SdkTracerProvider:
    """Return a provider of our own, configured by the environment, whose spans go to `exporter`.

    It is not the global one, and it does not wait for its exporter when the process exits: the handler's ``close``
    does, within its deadline.

    Args:
        exporter: Where to.
        has_queue: Have a thread of the SDK's collect and export the spans. Without, each goes to the exporter by
            itself: for a provider whose spans take another way there.
    """
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    from spanloom.handlers.otel._environment import bare_tracer_provider

    provider = bare_tracer_provider()
    processor = BatchSpanProcessor if has_queue else SimpleSpanProcessor
    provider.add_span_processor(processor(exporter))
    return provider


def global_tracer_provider() -> TracerProvider | None:
    """Return the global provider; ``None`` if nobody has set one."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, ProxyTracerProvider) else provider


def global_meter_provider() -> MeterProvider | None:
    """Return the global provider; ``None`` if nobody has set one."""
    provider = metrics.get_meter_provider()
    # The API has no public name for the class that stands in until one is set.
    return None if type(provider).__name__ == "_ProxyMeterProvider" else provider


def queue_size() -> int:
    """Return how many spans a batch processor that is configured by the environment holds before it drops some."""
    try:
        return max(1, int(_environment("OTEL_BSP_MAX_QUEUE_SIZE")))
    except ValueError:
        return _DEFAULT_QUEUE


class Helper:
    """A thread for calls of the SDK that may hang, so that their caller can stop waiting.

    ``force_flush`` and ``shutdown`` of the SDK take a timeout and, with a collector that does not answer, ignore it.
    Made early: an interpreter that is shutting down starts no more threads.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], object], threading.Event, list[object]] | None]
        self._jobs = queue.SimpleQueue()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is this one."""
        return threading.current_thread() is self._thread

    @property
    def is_ours(self) -> bool:
        """False in a forked child, which has inherited the object and not the thread."""
        return self._pid == os.getpid()

    def call(self, function: Callable[[], object], timeout: float) -> object:
        """Return what `function` returns, or ``None`` if that takes longer than `timeout` s or raises."""
        return self.begin(function)(timeout)

    def begin(self, function: Callable[[], object]) -> Callable[[float], object]:
        """Begin a :meth:`call`, and return what waits for its end for so many seconds."""
        done = threading.Event()
        result: list[object] = []
        self._jobs.put((function, done, result))

        def wait(timeout: float) -> object:
            done.wait(max(0.0, timeout))
            return result[0] if result else None

        return wait

    def stop(self) -> None:
        """End the thread when it has finished its calls."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, done, result = job
            try:
                result.append(function())
            except Exception:  # noqa: BLE001 -- an exporter's failure is the exporter's to log
                result.append(None)
            done.set()
