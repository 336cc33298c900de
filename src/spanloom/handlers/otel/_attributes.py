"""What an event says about itself, as OpenTelemetry attributes: bounded, plain, and safe to encode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentelemetry.util.types import AttributeValue

from spanloom.events import BatchCounts, ErrorInfo, Event, EventStatus, EventType

__all__ = ["end_attributes", "exception_attributes", "payload_attributes", "plain_text", "start_attributes"]

MAX_PAYLOAD_KEYS: Final = 32
"""Payload values that become attributes of one span; the SDK's own limit is 128 attributes."""
MAX_KEY_LENGTH: Final = 64

_INT64: Final = 1 << 63
# OTLP carries 64-bit integers; the exporter would fail the whole batch of spans on a larger one.


def start_attributes(event: Event, max_length: int) -> dict[str, AttributeValue]:
    """Return what is known of `event` at its start: what a sampler decides by."""
    attributes: dict[str, AttributeValue] = {"spanloom.type": plain_text(event.type)}
    index = event.job_index
    if index is not None:
        attributes["spanloom.job.index"] = index
        return attributes
    if event.attempt is not None:
        attributes["spanloom.attempt"] = event.attempt
    if event.counts is not None:
        _add_batch(attributes, event, max_length)
    elif event.payload:
        attributes.update(payload_attributes(event.payload, max_length))
    return attributes


def end_attributes(event: Event, max_length: int) -> dict[str, AttributeValue]:
    """Return everything that the span of an ended `event` says, payload texts cut to `max_length`."""
    attributes: dict[str, AttributeValue] = {"spanloom.type": plain_text(event.type)}
    status = event.status
    if status is not None:
        attributes["spanloom.outcome"] = str(status)
    if event.attempt is not None:
        attributes["spanloom.attempt"] = event.attempt
    if event.type == EventType.JOB:
        _add_job(attributes, event)
    elif event.counts is not None:
        _add_batch(attributes, event, max_length)
        _add_counts(attributes, event.counts)
    error = event.error
    if error is not None and status != EventStatus.CANCELLED:
        attributes["error.type"] = plain_text(error.type)
        if error.frames:
            frame = error.frames[-1]
            attributes["code.file.path"] = plain_text(frame.filename)
            attributes["code.line.number"] = frame.lineno
            attributes["code.function.name"] = plain_text(frame.function)
    elif status == EventStatus.TIMEOUT:
        attributes["error.type"] = "timeout"
    if event.payload and event.counts is None:
        attributes.update(payload_attributes(event.payload, max_length))
    return attributes


def _add_job(attributes: dict[str, AttributeValue], event: Event) -> None:
    if event.job_index is not None:
        attributes["spanloom.job.index"] = event.job_index
    if event.queue_ns is not None:
        attributes["spanloom.job.queue_s"] = event.queue_ns / 1e9
    if event.busy_ns is not None:
        attributes["spanloom.job.busy_s"] = event.busy_ns / 1e9


def _add_batch(attributes: dict[str, AttributeValue], event: Event, max_length: int) -> None:
    # What a runner attaches to its batch has names of its own; the rest of the payload is the user's.
    payload = dict(event.payload)
    for key in ("runner", "limit"):
        plain = _scalar(payload.pop(key, None), max_length)
        if plain is not None:
            attributes[f"spanloom.batch.{key}"] = plain
    attributes.update(payload_attributes(payload, max_length))


def _add_counts(attributes: dict[str, AttributeValue], counts: BatchCounts) -> None:
    attributes["spanloom.batch.size"] = counts.started if counts.total is None else counts.total
    attributes["spanloom.batch.ok"] = counts.ok
    attributes["spanloom.batch.failed"] = counts.failed
    attributes["spanloom.batch.cancelled"] = counts.cancelled
    attributes["spanloom.batch.retried"] = counts.retried


def exception_attributes(error: ErrorInfo) -> dict[str, AttributeValue]:
    """Return the attributes of the span event ``exception``, as the semantic conventions name them."""
    attributes: dict[str, AttributeValue] = {
        "exception.type": plain_text(error.type),
        "exception.message": plain_text(error.message),
    }
    if error.frames:
        # The form of a Python traceback, without source lines: reading them would be file access.
        lines = [
            f'  File "{frame.filename}", line {frame.lineno}, in {frame.function}' for frame in error.frames
        ]
        trace = "\n".join(["Traceback (most recent call last):", *lines, f"{error.type}: {error.message}"])
        attributes["exception.stacktrace"] = plain_text(trace)
    return attributes


def payload_attributes(payload: Mapping[str, object], max_length: int) -> dict[str, AttributeValue]:
    """Return the scalars of `payload` as ``spanloom.payload.<key>``; everything else is left out."""
    attributes: dict[str, AttributeValue] = {}
    for key, value in list(payload.items()):  # a list: its owner may still write to it
        if len(attributes) == MAX_PAYLOAD_KEYS:
            break
        plain = _scalar(value, max_length)
        if plain is not None and isinstance(key, str):
            attributes[f"spanloom.payload.{plain_text(key[:MAX_KEY_LENGTH])}"] = plain
    return attributes


def _scalar(value: object, max_length: int) -> AttributeValue | None:
    # The base classes' own methods: a subclass of str or int may bring a __str__ of the user's.
    if isinstance(value, str):
        text = str.__str__(value)
        return plain_text(text if len(text) <= max_length else text[: max_length - 1] + "…")
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        number = int.__int__(value)
        return number if -_INT64 <= number < _INT64 else plain_text(hex(number)[:max_length])
    return float.__float__(value) if isinstance(value, float) else None


def plain_text(text: str) -> str:
    """Return `text` without lone surrogates, on which the OTLP encoder fails a whole batch of spans."""
    if text.isascii():
        return str.__str__(text)
    return text.encode("utf-8", "replace").decode("utf-8")
