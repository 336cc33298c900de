"""What a span says, in one form, whoever says it: the program's own events, OTLP JSON, or Jaeger's older API.

The way from an event to a span is written down here a second time, from the documentation: an oracle that shares code
with what it judges would share its mistakes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from spanloom.events import Event
from spanloom.events.codec import decode_lines

__all__ = ["SpanFacts", "from_older_api", "from_otlp", "seen_by_the_program"]

_STATUS: Final = {0: "UNSET", 1: "OK", 2: "ERROR"}
_INTERNAL: Final = 1
_SCALARS: Final = (str, bool, int, float)

Points = list[tuple[str, int, dict[str, Any]]]
Links = list[tuple[int, int, dict[str, Any]]]


@dataclass(order=True)
class SpanFacts:
    """One span. Times are nanoseconds since the Unix epoch."""

    trace_id: int
    span_id: int
    parent_id: int
    """0 for a root."""
    name: str
    start_ns: int
    end_ns: int
    status: str = "UNSET"
    message: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    points: Points = field(default_factory=list)
    """What OpenTelemetry calls the events of a span: name, time, attributes; in order of name and time."""
    links: Links = field(default_factory=list)
    kind: int = _INTERNAL
    scope: str = "spanloom"

    def as_on_disk(self) -> SpanFacts:
        """Return the same as Jaeger's store on disk has it: of a link, where it leads, not what is said of it."""
        return replace(self, links=[(trace_id, span_id, {}) for trace_id, span_id, _ in self.links])

    def as_the_older_api_has_it(self) -> SpanFacts:
        """Return the same without what the older API leaves out: nanoseconds, lists, links' attributes."""
        return SpanFacts(
            self.trace_id,
            self.span_id,
            self.parent_id,
            self.name,
            self.start_ns // 1000,
            self.start_ns // 1000 + (self.end_ns - self.start_ns) // 1000,
            self.status,
            self.message,
            {
                key: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                if isinstance(value, list)
                else value
                for key, value in self.attributes.items()
            },
            sorted((name, at_ns // 1000, attributes) for name, at_ns, attributes in self.points),
            [(trace_id, span_id, {}) for trace_id, span_id, _ in self.links],
            self.kind,
            self.scope,
        )


# -- what the program has seen -----------------------------------------------------------------------------------------


def seen_by_the_program(folder: Path) -> list[SpanFacts]:
    """Return the spans that there should be for what `pipeline.py` wrote into `folder`, by their ids."""
    written = (folder / "events.jsonl").read_bytes()
    events = list(
        decode_lines(written[: written.rfind(b"\n") + 1])
    )  # the last line of a killed program may be torn
    points: dict[int, Points] = defaultdict(list)
    for event in events:
        if event.is_point:
            assert event.parent_id is not None
            points[event.parent_id].append((event.name, event.start_wall_ns, _payload(event.payload)))
    spans = [_of_event(event, points[event.event_id]) for event in events if not event.is_point]
    spans += [
        SpanFacts(
            **user
            | {
                "parent_id": user["parent_id"] or 0,
                "points": sorted(map(tuple, user["points"])),
                "links": [tuple(link) for link in user["links"]],
                "scope": "pipeline",
            }
        )
        for user in _users(folder)
    ]
    return sorted(spans)


def _users(folder: Path) -> list[dict[str, Any]]:
    path = folder / "users.json"
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


def _of_event(event: Event, points: Points) -> SpanFacts:
    assert event.end_wall_ns is not None
    failed = event.status in ("error", "timeout")
    error = event.error
    if failed and error is not None:
        lines = [
            f'  File "{frame.filename}", line {frame.lineno}, in {frame.function}' for frame in error.frames
        ]
        stack = ["Traceback (most recent call last):", *lines, f"{error.type}: {error.message}"]
        details = {
            "exception.type": error.type,
            "exception.message": error.message,
            "exception.stacktrace": "\n".join(stack),
        }
        points = [*points, ("exception", event.end_wall_ns, details)]
    return SpanFacts(
        event.trace_id,
        event.event_id,
        event.parent_id or 0,
        event.name,
        event.start_wall_ns,
        event.end_wall_ns,
        "ERROR" if failed else "UNSET",
        error.message if failed and error is not None else "",
        _attributes(event),
        sorted(points),
        [
            (int(link["trace_id"], 16), int(link["event_id"], 16), link.get("attributes", {}))
            for link in _links(event)
        ],
    )


def _links(event: Event) -> list[dict[str, Any]]:
    """Return the links that an event has in its payload."""
    links = event.payload.get("links", [])
    assert isinstance(links, list)
    return links


def _attributes(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = {"spanloom.type": event.type, "spanloom.outcome": event.status}
    if event.attempt is not None:
        found["spanloom.attempt"] = event.attempt
    payload = dict(event.payload)
    if event.type == "job":
        found["spanloom.job.index"] = event.job_index
        assert event.queue_ns is not None
        found["spanloom.job.queue_s"] = event.queue_ns / 1e9
    counts = event.counts
    if counts is not None:
        found |= {f"spanloom.batch.{key}": payload.pop(key) for key in ("runner", "limit") if key in payload}
        found |= {
            "spanloom.batch.size": counts.total,
            "spanloom.batch.ok": counts.ok,
            "spanloom.batch.failed": counts.failed,
            "spanloom.batch.cancelled": counts.cancelled,
            "spanloom.batch.retried": counts.retried,
        }
    error = event.error
    if error is not None and event.status != "cancelled":
        innermost = error.frames[-1]
        found |= {
            "error.type": error.type,
            "code.file.path": innermost.filename,
            "code.line.number": innermost.lineno,
            "code.function.name": innermost.function,
        }
    return found | _payload(payload)


def _payload(payload: Mapping[str, object]) -> dict[str, Any]:
    return {f"spanloom.payload.{key}": value for key, value in payload.items() if isinstance(value, _SCALARS)}


# -- what Jaeger answers -----------------------------------------------------------------------------------------------


def from_otlp(resource_spans: Iterable[Mapping[str, Any]], service: str) -> list[SpanFacts]:
    """Read the JSON of ``/api/v3/traces``, which is OTLP's own; all of it has to be from `service`."""
    spans = []
    for resource in resource_spans:
        assert _otlp_attributes(resource["resource"])["service.name"] == service
        for scope in resource["scopeSpans"]:
            spans += [_of_otlp(span, scope["scope"]["name"]) for span in scope["spans"]]
    return sorted(spans)


def _of_otlp(span: Mapping[str, Any], scope: str) -> SpanFacts:
    status = span.get("status", {})
    return SpanFacts(
        int(span["traceId"], 16),
        int(span["spanId"], 16),
        int(span.get("parentSpanId") or "0", 16),
        span["name"],
        int(span["startTimeUnixNano"]),
        int(span["endTimeUnixNano"]),
        _STATUS[status.get("code", 0)],
        status.get("message", ""),
        _otlp_attributes(span),
        sorted(
            (point["name"], int(point["timeUnixNano"]), _otlp_attributes(point))
            for point in span.get("events", ())
        ),
        [
            (int(link["traceId"], 16), int(link["spanId"], 16), _otlp_attributes(link))
            for link in span.get("links", ())
        ],
        span["kind"],
        scope,
    )


def _otlp_attributes(holder: Mapping[str, Any]) -> dict[str, Any]:
    return {item["key"]: _otlp_value(item["value"]) for item in holder.get("attributes", ())}


def _otlp_value(value: Mapping[str, Any]) -> Any:
    ((kind, content),) = value.items()
    match kind:
        case "intValue":
            return int(content)  # 64 bits are a string in JSON
        case "doubleValue":
            return float(content)
        case "arrayValue":
            return [_otlp_value(item) for item in content["values"]]
    return content


def from_older_api(traces: Iterable[Mapping[str, Any]], service: str) -> list[SpanFacts]:
    """Read the JSON of ``/api/traces``; all of it has to be from `service`."""
    spans = []
    for trace in traces:
        assert {process["serviceName"] for process in trace["processes"].values()} == {service}
        spans += [_of_older_api(span) for span in trace["spans"]]
    return sorted(spans)


def _of_older_api(span: Mapping[str, Any]) -> SpanFacts:
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    assert not span["warnings"]
    status = tags.pop("otel.status_code", "UNSET")
    assert tags.pop("error", False) is (status == "ERROR")
    parents = [item for item in span["references"] if item["refType"] == "CHILD_OF"]
    assert all(parent["traceID"] == span["traceID"] for parent in parents)
    return SpanFacts(
        int(span["traceID"], 16),
        int(span["spanID"], 16),
        int(parents[0]["spanID"], 16) if parents else 0,
        span["operationName"],
        span["startTime"],
        span["startTime"] + span["duration"],
        status,
        tags.pop("otel.status_description", ""),
        points=sorted(_log(log) for log in span["logs"]),
        links=[
            (int(item["traceID"], 16), int(item["spanID"], 16), {})
            for item in span["references"]
            if item["refType"] == "FOLLOWS_FROM"
        ],
        kind={"internal": _INTERNAL}[tags.pop("span.kind")],
        scope=tags.pop("otel.scope.name"),
        attributes={key: value for key, value in tags.items() if key != "otel.scope.version"},
    )


def _log(log: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
    fields = {item["key"]: item["value"] for item in log["fields"]}
    return fields.pop("event"), log["timestamp"], fields
