"""Providers configured by the ``OTEL_*`` variables, made by parts of the SDK's configurator and not made global.

The SDK reads its variables in two places: its constructors know samplers, limits, queues and endpoints, and the
configurator behind ``opentelemetry-instrument`` knows what is found by name: exporters, samplers and id generators of
other packages. The configurator as a whole takes the global providers, so its parts are used here, and only here.
"""

from __future__ import annotations

import atexit
import importlib
import os
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, Literal

from opentelemetry.sdk import _configuration as sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from spanloom.exceptions import MissingDependencyError

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.id_generator import IdGenerator

__all__ = ["Providers", "bare_tracer_provider", "make_providers", "make_tracer_provider"]

Signal = Literal["traces", "metrics"]

_EXTRAS: Final = {"otlp_proto_http": "otlp", "otlp_proto_grpc": "otlp-grpc"}
"""The extra of ours that installs an exporter which the SDK does not bring."""
_PARTS: Final = ("resource", "tracer_provider", "meter_provider")
"""Of the package that reads ``OTEL_CONFIG_FILE``: as a whole, it takes the global providers, too."""


@dataclass(frozen=True, slots=True)
class Providers:
    """What the environment describes.

    Attributes:
        tracers: Makes spans, or, with ``OTEL_SDK_DISABLED=true``, none.
        meters: ``None`` if ``OTEL_METRICS_EXPORTER`` names no exporter.
        is_silent: Whether nothing is exported.
    """

    tracers: TracerProvider
    meters: MeterProvider | None
    is_silent: bool


def make_providers() -> Providers:
    """Return providers with exporters as the environment says; nothing global is touched.

    They do not shut down by themselves when the process ends: the caller has to do that, within a deadline.

    Raises:
        MissingDependencyError: the package of an exporter, or the one that reads ``OTEL_CONFIG_FILE``, is missing.
        ValueError: there is no exporter or id generator of that name, or no such OTLP protocol.
    """
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled:
        return Providers(TracerProvider(shutdown_on_exit=False), None, is_silent=True)
    if file := os.environ.get("OTEL_CONFIG_FILE"):
        return _from_file(file)
    # Both found before either has started a thread.
    of_spans, of_metrics = _exporters("traces", "otlp"), _exporters("metrics", "none")
    return Providers(
        _tracer_provider(of_spans), _meter_provider(of_metrics), is_silent=not (of_spans or of_metrics)
    )


def make_tracer_provider() -> TracerProvider:
    """Return a provider with the exporters that ``OTEL_TRACES_EXPORTER`` names; see `make_providers`."""
    return _tracer_provider(_exporters("traces", "otlp"))


def _tracer_provider(exporters: list[Any]) -> TracerProvider:
    provider = bare_tracer_provider()
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter()))
    return provider


def bare_tracer_provider() -> TracerProvider:
    """Return a provider with the sampler, ids, limits and resource of the environment, and no exporter yet."""
    return TracerProvider(
        sampler=sdk._import_sampler(sdk._get_sampler()),  # noqa: SLF001 -- see the module's docstring
        id_generator=_id_generator(),
        shutdown_on_exit=False,
        **_configurator("tracer"),
    )


def _id_generator() -> IdGenerator:
    name = sdk._get_id_generator()  # noqa: SLF001 -- see the module's docstring
    try:
        return sdk._import_id_generator(name)  # noqa: SLF001 -- the same
    except RuntimeError as error:
        known = ", ".join(sorted(entry_points(group="opentelemetry_id_generator").names))
        raise ValueError(f"OTEL_PYTHON_ID_GENERATOR names {name!r}; installed are {known}") from error


def _meter_provider(exporters: list[Any]) -> MeterProvider | None:
    if not exporters:
        return None
    readers = [
        exporter() if issubclass(exporter, MetricReader) else PeriodicExportingMetricReader(exporter())
        for exporter in exporters
    ]
    return MeterProvider(metric_readers=readers, shutdown_on_exit=False, **_configurator("meter"))


def _configurator(kind: Literal["tracer", "meter"]) -> dict[str, Any]:
    """Return the argument for what ``OTEL_PYTHON_TRACER_CONFIGURATOR`` names; of releases that know the variable."""
    load = getattr(sdk, f"_import_{kind}_configurator", None)
    found = load and load(os.environ.get(f"OTEL_PYTHON_{kind.upper()}_CONFIGURATOR"))
    return {f"_{kind}_configurator": found} if found else {}


# exporters by name -------------------------------------------------------------------------------------------


def _exporters(signal: Signal, default: str) -> list[Any]:
    """Return the classes of the exporters that ``OTEL_<SIGNAL>_EXPORTER`` names, separated by commas."""
    names = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() or default
    if names.lower() == "none":
        return []
    return [_exporter(name.strip(), signal) for name in names.split(",")]


def _exporter(name: str, signal: Signal) -> type[SpanExporter | MetricExporter | MetricReader]:
    if name == "otlp" and not _protocol(signal):
        name = "otlp_proto_http"  # as the specification recommends; the configurator alone would take gRPC
    try:
        name = sdk._get_exporter_entry_point(name, signal)  # noqa: SLF001 -- see the module's docstring
    except RuntimeError as error:
        raise ValueError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {_protocol(signal)!r}; it can be http/protobuf or grpc"
        ) from error
    group = f"opentelemetry_{signal}_exporter"
    known = sorted(entry_points(group=group).names)
    if name not in known:
        if name in _EXTRAS:
            raise MissingDependencyError(
                f"the exporter {name} for {signal} is not installed: pip install 'spanloom[{_EXTRAS[name]}]'"
            )
        raise ValueError(
            f"OTEL_{signal.upper()}_EXPORTER names {name!r}; installed are {', '.join(known)}, and otlp"
        )
    lists: dict[Signal, list[str]] = {"traces": [], "metrics": [], signal: [name]}
    found = sdk._import_exporters(lists["traces"], lists["metrics"], [])  # noqa: SLF001 -- the same
    return next(iter({**found[0], **found[1]}.values()))


def _protocol(signal: Signal) -> str:
    variables = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    return next((value for name in variables if (value := os.environ.get(name, "").strip())), "")


# a file instead of variables ---------------------------------------------------------------------------------


def _from_file(file: str) -> Providers:
    package = "opentelemetry.configuration"
    try:
        load = importlib.import_module(package).load_config_file
        parts = [importlib.import_module(f"{package}._{part}") for part in _PARTS]
    except ImportError as error:
        raise MissingDependencyError(
            f"OTEL_CONFIG_FILE={file} is read by a package that is not installed: "
            "pip install opentelemetry-configuration"
        ) from error
    resources, tracing, metering = parts
    config = load(file)
    if config.disabled:
        return Providers(TracerProvider(shutdown_on_exit=False), None, is_silent=True)
    resource = resources.create_resource(config.resource)
    tracers = tracing.create_tracer_provider(config.tracer_provider, resource, config.attribute_limits)
    meters = config.meter_provider and metering.create_meter_provider(config.meter_provider, resource)
    for provider in filter(None, (tracers, meters)):
        atexit.unregister(provider.shutdown)  # it would not wait for the handler, and keeps no deadline
    return Providers(tracers, meters, is_silent=False)
