"""The attributes of an event's span: bounded, plain, and safe to encode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from spanloom.events import BatchCounts, ErrorInfo, Event, EventStatus, EventType, model_keys
from spanloom.handlers.otel._http import describe_request, entitle_request
from spanloom.handlers.otel._plain import plain_text, scalar
from spanloom.handlers.otel._profiles import Rules, contents
from spanloom.redaction import redact_named

__all__ = [
    "end_attributes",
    "exception_attributes",
    "payload_attributes",
    "plain_text",
    "scalar_attributes",
    "start_attributes",
    "title_of",
]

MAX_PAYLOAD_KEYS: Final = 32
"""Payload values that become attributes of one span; the SDK's own limit is 128 attributes."""
MAX_KEY_LENGTH: Final = 64


def title_of(event: Event, rules: Rules) -> tuple[str, SpanKind]:
    """Return name and kind of the span of `event`."""
    title = None if rules.title is None else rules.title(event, rules)
    if title is not None:
        return title
    if event.type == EventType.REQUEST:
        return entitle_request(event), SpanKind.CLIENT
    return plain_text(event.name), SpanKind.INTERNAL


def start_attributes(event: Event, rules: Rules) -> dict[str, AttributeValue]:
    """Return the attributes that are known at the start of `event`, for the sampler; without contents."""
    attributes: dict[str, AttributeValue] = {"spanloom.type": plain_text(event.type)}
    if event.job is event and event.job_index is not None:
        attributes["spanloom.job.index"] = event.job_index
    if event.attempt is not None:
        attributes["spanloom.attempt"] = event.attempt
    _add_payload(attributes, event, rules, with_content=False)
    return attributes


def end_attributes(event: Event, rules: Rules) -> dict[str, AttributeValue]:
    """Return all attributes of the span of an ended `event`."""
    attributes: dict[str, AttributeValue] = {"spanloom.type": plain_text(event.type)}
    status = event.status
    if status is not None:
        attributes["spanloom.outcome"] = str(status)
    if event.attempt is not None:
        attributes["spanloom.attempt"] = event.attempt
    if event.type == EventType.JOB:
        _add_job(attributes, event)
    elif event.counts is not None:
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
    _add_payload(attributes, event, rules, with_content=rules.content)
    return attributes


def _add_payload(
    attributes: dict[str, AttributeValue], event: Event, rules: Rules, *, with_content: bool
) -> None:
    used: frozenset[str] = frozenset()
    if rules.describe is not None:
        described, used = rules.describe(event, rules, with_content)
        attributes.update(described)
    elif with_content and event.data:
        attributes.update(contents(event, rules))
    if not event.data:
        return
    if event.type == EventType.REQUEST:
        described, told = describe_request(event, rules)
        attributes.update(described)
        used |= told
    if event.counts is not None:
        _add_batch(attributes, event, rules)
        used |= {"runner", "limit"}
    attributes.update(payload_attributes(event.payload, rules, used))


def _add_job(attributes: dict[str, AttributeValue], event: Event) -> None:
    if event.job_index is not None:
        attributes["spanloom.job.index"] = event.job_index
    if event.queue_ns is not None:
        attributes["spanloom.job.queue_s"] = event.queue_ns / 1e9
    if event.busy_ns is not None:
        attributes["spanloom.job.busy_s"] = event.busy_ns / 1e9


def _add_batch(attributes: dict[str, AttributeValue], event: Event, rules: Rules) -> None:
    # What a runner attaches to its batch has names of its own; the rest of the payload is the user's.
    for key in ("runner", "limit"):
        plain = scalar(event.payload.get(key), rules.max_text)
        if plain is not None:
            attributes[f"spanloom.batch.{key}"] = plain


def _add_counts(attributes: dict[str, AttributeValue], counts: BatchCounts) -> None:
    attributes["spanloom.batch.size"] = counts.started if counts.total is None else counts.total
    attributes["spanloom.batch.ok"] = counts.ok
    attributes["spanloom.batch.failed"] = counts.failed
    attributes["spanloom.batch.cancelled"] = counts.cancelled
    if counts.skipped:
        attributes["spanloom.batch.skipped"] = counts.skipped
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


def payload_attributes(
    payload: Mapping[str, object], rules: Rules, used: frozenset[str] = frozenset()
) -> dict[str, AttributeValue]:
    """Return the scalars of `payload` as ``spanloom.payload.<key>``; everything else is left out.

    So are contents, and the keys in `used`, which have attributes of their own.
    """
    without = used | model_keys.CONTENT if used else model_keys.CONTENT
    return scalar_attributes(payload, rules, "spanloom.payload.", without)


def scalar_attributes(
    values: Mapping[str, object], rules: Rules, prefix: str = "", without: frozenset[str] = frozenset()
) -> dict[str, AttributeValue]:
    """Return the scalars among `values`, their names behind `prefix`, at most `MAX_PAYLOAD_KEYS`."""
    attributes: dict[str, AttributeValue] = {}
    max_text = rules.max_text
    for key, value in list(values.items()):  # a list: its owner may still write to it
        if len(attributes) == MAX_PAYLOAD_KEYS:
            break
        if not isinstance(key, str) or key in without:
            continue
        plain = scalar(value, max_text)
        if plain is not None:
            plain = redact_named(key, plain)
            attributes[prefix + plain_text(key)[:MAX_KEY_LENGTH]] = plain
    return attributes
