"""Events as JSON, one object an event, one line an object: for files, sockets and other programs.

The wire form::

    v              1, the version of this form
    type, name     strings
    event_id       16 lowercase hexadecimal digits, not all zero (W3C Trace Context, ``parent-id``)
    trace_id       32 of them (W3C Trace Context, ``trace-id``)
    start_ns       integer; a monotonic clock's nanoseconds, which compare within one process
    start_wall_ns  integer; nanoseconds since the Unix epoch
    parent_id      as event_id
    end_ns, end_wall_ns
    status         string
    error          {"type": string, "message": string, "frames": [[file name, line, function], ...]}
    payload        object
    queue_ns, busy_ns, attempt, job_index   integers
    batch_id       as event_id
    counts         {"total", "started", "in_flight", "failed", "cancelled", "backing_off", "retried", "skipped":
                   integers}
    is_point       true

Fields from ``parent_id`` on are omitted where the `Event` has ``None``, an empty value or false. For
what a payload may hold, see `spanloom.events.plain`. New versions only add fields: a reader accepts
any version, type and status, and writes unknown fields back unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec

from spanloom.events.counts import BatchCounts
from spanloom.events.error import ErrorInfo, Frame
from spanloom.events.event import Event
from spanloom.events.plain import MAX_TEXT
from spanloom.events.stored import StoredCounts, StoredEvent
from spanloom.events.trace import Trace

__all__ = ["SCHEMA_VERSION", "decode", "decode_lines", "encode", "encode_lines"]

SCHEMA_VERSION: Final = 1
"""Version of the wire form that `encode` writes."""

_MAX_LABEL: Final = 500
_MAX_EXCERPT: Final = 60
_SHARED_TRACES: Final = 1024

_EventId = Annotated[str, msgspec.Meta(pattern=r"^(?!0+\Z)[0-9a-f]{16}\Z")]
_TraceId = Annotated[str, msgspec.Meta(pattern=r"^(?!0+\Z)[0-9a-f]{32}\Z")]


class _Error(msgspec.Struct, omit_defaults=True):
    type: str
    message: str
    frames: tuple[Frame, ...] = ()


class _Counts(msgspec.Struct, omit_defaults=True):
    total: int | None = None
    started: int = 0
    in_flight: int = 0
    failed: int = 0
    cancelled: int = 0
    backing_off: int = 0
    retried: int = 0
    skipped: int = 0


class _Wire(msgspec.Struct, omit_defaults=True):
    v: Annotated[int, msgspec.Meta(ge=1)]
    type: str
    name: str
    event_id: _EventId
    trace_id: _TraceId
    start_ns: int
    start_wall_ns: int
    parent_id: _EventId | None = None
    end_ns: int | None = None
    end_wall_ns: int | None = None
    status: str | None = None
    error: _Error | None = None
    # Any: whatever JSON can hold.
    payload: dict[str, Any] | None = None
    queue_ns: int | None = None
    busy_ns: int | None = None
    attempt: int | None = None
    job_index: int | None = None
    batch_id: _EventId | None = None
    counts: _Counts | None = None
    is_point: bool = False


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def encode(event: Event) -> bytes:
    """Return `event`, open or ended, as one JSON object in UTF-8, without line breaks.

    Runs no user code, whatever the payload holds, and redacts secrets (`spanloom.redaction`). A
    `StoredEvent` is written as it was read, unknown fields included.
    """
    if not isinstance(event, StoredEvent):
        # Imported late: redaction has many patterns, which only a writer needs.
        from spanloom.events.clean import clean_payload, clean_text

        data = event.data
        return _encoder.encode(_wire_of(event, clean_text, clean_payload(data) if data else None))
    wire = _wire_of(event, _unchanged, event.data)
    wire.v = event.v
    if event.extra is None:
        return _encoder.encode(wire)
    return _encoder.encode(_merged(msgspec.to_builtins(wire), event.extra))


def encode_lines(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield each event as one line of JSON Lines, its line break included: for ``file.writelines``."""
    for event in events:
        yield encode(event) + b"\n"


def decode(data: bytes | bytearray | memoryview | str) -> StoredEvent:
    """Return the event that `encode`, of this or of a newer version, wrote.

    Raises:
        ValueError: `data` is not such an object; the message says what is wrong, and where.
    """
    return _decode(data, {})


def decode_lines(lines: Iterable[bytes | str] | bytes | str) -> Iterator[StoredEvent]:
    """Yield the event of each line; blank lines are skipped.

    Events of one trace share one `trace` object, as live ones do.

    Args:
        lines: A file, any iterable of lines, or the whole text.

    Raises:
        ValueError: a line is not an event; the message gives its number, from 1. Those before it
            have been yielded. The last line of a file whose writer was killed may be torn.
    """
    if isinstance(lines, bytes):
        lines = lines.split(b"\n")
    elif isinstance(lines, str):
        lines = lines.split("\n")
    traces: dict[str, Trace] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = _decode(line, traces)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        yield event


# writing ----------------------------------------------------------------------------------------------


def _unchanged(text: str, limit: int) -> str:  # noqa: ARG001 -- what was read is written as it was
    return text


def _wire_of(event: Event, text: Callable[[str, int], str], payload: dict[str, object] | None) -> _Wire:
    error, counts = event.error, event.counts
    return _Wire(
        SCHEMA_VERSION,
        text(event.type, _MAX_LABEL),
        text(event.name, _MAX_LABEL),
        f"{event.event_id:016x}",
        f"{event.trace_id:032x}",
        event.start_ns,
        event.start_wall_ns,
        _hex(event.parent_id),
        event.end_ns,
        event.end_wall_ns,
        None if event.status is None else text(event.status, _MAX_LABEL),
        None if error is None else _wire_error(error, text),
        payload,
        event.queue_ns,
        event.busy_ns,
        event.attempt,
        event.job_index,
        _hex(event.batch_id),
        None if counts is None else _wire_counts(counts),
        event.is_point,
    )


def _hex(event_id: int | None) -> str | None:
    return None if event_id is None else f"{event_id:016x}"


def _wire_error(error: ErrorInfo, text: Callable[[str, int], str]) -> _Error:
    frames = tuple(
        Frame(text(frame.filename, MAX_TEXT), frame.lineno, text(frame.function, MAX_TEXT))
        for frame in error.frames
    )
    return _Error(text(error.type, MAX_TEXT), text(error.message, MAX_TEXT), frames)


def _wire_counts(counts: BatchCounts) -> _Counts:
    return _Counts(
        counts.total,
        counts.started,
        counts.in_flight,
        counts.failed,
        counts.cancelled,
        counts.backing_off,
        counts.retried,
        counts.skipped,
    )


# reading ----------------------------------------------------------------------------------------------


def _decode(data: bytes | bytearray | memoryview | str, traces: dict[str, Trace]) -> StoredEvent:
    try:
        raw = _decoder.decode(data)
        wire = msgspec.convert(raw, _Wire)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as failure:
        raise ValueError(f"not an event: {failure} (got {_excerpt(data)})") from None
    error = wire.error
    return StoredEvent(
        type=wire.type,
        name=wire.name,
        event_id=int(wire.event_id, 16),
        trace=_trace_of(wire, traces),
        start_ns=wire.start_ns,
        start_wall_ns=wire.start_wall_ns,
        parent_id=_id_of(wire.parent_id),
        end_ns=wire.end_ns,
        end_wall_ns=wire.end_wall_ns,
        status=wire.status,
        error=None if error is None else ErrorInfo(error.type, error.message, error.frames),
        data=wire.payload,
        queue_ns=wire.queue_ns,
        busy_ns=wire.busy_ns,
        attempt=wire.attempt,
        job_index=wire.job_index,
        batch_id=_id_of(wire.batch_id),
        counts=None if wire.counts is None else _counts_of(wire.counts),
        is_point=wire.is_point,
        v=wire.v,
        extra=_left_over(raw, msgspec.to_builtins(wire)) or None,
    )


def _id_of(text: str | None) -> int | None:
    return None if text is None else int(text, 16)


def _trace_of(wire: _Wire, traces: dict[str, Trace]) -> Trace:
    """Return the trace of an event: the one that earlier events share if `traces` still has it, else a new one."""
    trace = traces.get(wire.trace_id)
    if trace is None:
        if len(traces) >= _SHARED_TRACES:
            del traces[next(iter(traces))]
        trace = traces[wire.trace_id] = Trace("", 0, int(wire.trace_id, 16))
    if wire.parent_id is None:
        trace.name, trace.root_id = wire.name, int(wire.event_id, 16)
    return trace


def _counts_of(wire: _Counts) -> StoredCounts:
    counts = StoredCounts(wire.total, _started=wire.started, _in_flight=wire.in_flight)
    counts.failed = wire.failed
    counts.cancelled = wire.cancelled
    counts.backing_off = wire.backing_off
    counts.retried = wire.retried
    counts.skipped = wire.skipped
    return counts


_NESTED: Final = ("error", "counts")
"""Objects of the wire form that may grow fields; the payload is always kept whole."""


def _left_over(raw: dict[str, object], known: dict[str, object]) -> dict[str, object]:
    """Return the part of `raw` that is not in `known`: unknown fields, explicit nulls and zeros."""
    extra = {key: value for key, value in raw.items() if key not in known}
    for key in _NESTED:
        inner, understood = raw.get(key), known.get(key)
        if isinstance(inner, dict) and isinstance(understood, dict):
            rest = {name: value for name, value in inner.items() if name not in understood}
            if rest:
                extra[key] = rest
    return extra


def _merged(known: dict[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    merged = {**extra, **known}
    for key in _NESTED:
        rest, understood = extra.get(key), known.get(key)
        if isinstance(rest, dict):
            if isinstance(understood, dict):
                merged[key] = {**rest, **understood}
            else:  # the known part was removed since it was read: drop the rest, too
                del merged[key]
    return merged


def _excerpt(data: bytes | bytearray | memoryview | str) -> str:
    start = data[: _MAX_EXCERPT + 1]
    text = start if isinstance(start, str) else bytes(start).decode("utf-8", "replace")
    return ascii(text if len(text) <= _MAX_EXCERPT else text[:_MAX_EXCERPT] + "...")
