"""Many measurements of a histogram at once.

The SDK takes them one by one, at 7.7 us each, of which 6.5 go into finding the aggregations for the attributes:
readers, views, a hash of the attributes. Here that is done once for a list of measurements with the same attributes,
and every aggregation is then given the values: 1 us each. All aggregations, views and readers see each value, as they
would have.

This uses private names of the SDK. So it is tried out first, on a meter provider of its own; where the numbers do not
come out right, measurements are recorded one by one, as with any other SDK.
"""

# ruff: noqa: SLF001 -- what this file is for, see above

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.sdk.metrics import Histogram as SdkHistogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.util.types import AttributeValue

__all__ = ["Record", "make_histogram", "recorder_of"]

Record = Callable[[Sequence[float], dict[str, AttributeValue]], None]
"""Takes measurements that have the same attributes."""

BOUNDARIES_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
)  # fmt: skip
"""Those of the HTTP semantic conventions, and more below and above: jobs last from one turn of the loop to hours."""

_NOWHERE: Final = Context()
"""Measurements are made long after their event, on another thread: no span is theirs, none need be looked for."""


class _Value(NamedTuple):
    """The parts of a measurement that an aggregation reads if it is not an exemplar."""

    value: float


def make_histogram(
    meter: Meter,
    name: str,
    description: str,
    *,
    unit: str = "s",
    boundaries: Sequence[float] = BOUNDARIES_S,
) -> Histogram:
    """Return a histogram, of seconds unless told otherwise."""
    try:
        return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=boundaries)
    except TypeError:  # before OpenTelemetry 1.30: the buckets are the SDK's, or those of a view
        return meter.create_histogram(name, unit, description)


def recorder_of(histogram: Histogram) -> Record:
    """Return a function that records measurements in `histogram`: all at once where that is possible."""
    # The SDK's meter makes a subclass that differs in nothing but that it may be made.
    is_sdk = isinstance(histogram, SdkHistogram) and type(histogram).record is SdkHistogram.record
    if is_sdk and _bulk_is_right():
        return functools.partial(_record_all, histogram)
    return functools.partial(_record_each, histogram)


def _record_each(
    histogram: Histogram, values: Sequence[float], attributes: dict[str, AttributeValue]
) -> None:
    for value in values:
        histogram.record(value, attributes, _NOWHERE)


def _record_all(histogram: Any, values: Sequence[float], attributes: dict[str, AttributeValue]) -> None:
    # Any: see above. The first one goes the SDK's own way: it checks name, attributes and whether it is wanted at all.
    histogram.record(values[0], attributes, _NOWHERE)
    if len(values) == 1 or not histogram._is_enabled():
        return
    rest = [_Value(value) for value in values[1:]]
    for storage in histogram._measurement_consumer._reader_storages.values():
        for match in storage._get_or_init_view_instrument_match(histogram):
            kept = match._view._attribute_keys
            seen = attributes if kept is None else {key: attributes[key] for key in attributes if key in kept}
            with match._lock:
                aggregation = match._get_or_create_aggregation(_hash_attributes()(seen), seen)
                for value in rest:
                    aggregation.aggregate(value, False)


@functools.cache
def _hash_attributes() -> Callable[[Any], Any]:
    from opentelemetry.sdk.metrics._internal import _view_instrument_match

    return _view_instrument_match._hash_attributes


@functools.cache
def _bulk_is_right() -> bool:
    """Return whether `_record_all` says the same as the SDK, tried out on a provider that nobody else sees."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    values = (0.0004, 0.02, 0.02, 7.0, 9000.0)
    try:
        meter = provider.get_meter("spanloom")
        each, all_ = (make_histogram(meter, name, "") for name in ("each", "all"))
        some: tuple[dict[str, AttributeValue], ...] = ({"a": "x", "b": 1}, {"a": "y"})
        for attributes in some:
            _record_each(each, values, attributes)
            _record_all(all_, values, attributes)
            _record_all(all_, values[:1], attributes)
            _record_each(each, values[:1], attributes)
        data: Any = reader.get_metrics_data()
        first, second = data.resource_metrics[0].scope_metrics[0].metrics
        return len(first.data.data_points) == 2 and _plain(first) == _plain(second)
    except Exception:  # noqa: BLE001 -- an SDK that is built in another way may fail here in any way
        return False
    finally:
        provider.shutdown()


def _plain(metric: Any) -> list[tuple[object, ...]]:
    return [
        (dict(point.attributes), point.count, point.sum, point.min, point.max, point.bucket_counts)
        for point in metric.data.data_points
    ]
