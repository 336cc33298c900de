"""Events as JSON: what is written can be read, by this version and by others."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spanloom
from spanloom.events import (
    ErrorInfo,
    Event,
    EventStatus,
    Frame,
    StoredEvent,
    decode,
    decode_lines,
    encode,
    encode_lines,
    keys,
)
from spanloom.events.codec import SCHEMA_VERSION
from spanloom.events.event import ScopeEvent, data_of
from spanloom.events.trace import Trace
from spanloom.handlers.logging import LogEventHandler
from spanloom.redaction import redact_data, redact_text
from spanloom.testing import capture_events

ATTRIBUTES = (
    "type", "name", "event_id", "parent_id", "trace_id", "start_ns", "end_ns", "duration_ns", "start_wall_ns",
    "end_wall_ns", "status", "error", "payload", "queue_ns", "busy_ns", "attempt", "job_index", "batch_id", "is_point",
)  # fmt: skip
COUNTS = (
    "total",
    "started",
    "in_flight",
    "ended",
    "ok",
    "failed",
    "cancelled",
    "waiting",
    "backing_off",
    "retried",
)
MINIMAL = {
    "v": 1,
    "type": "step",
    "name": "a",
    "event_id": "00000000000000aa",
    "trace_id": "000000000000000000000000000000bb",
    "start_ns": 1,
    "start_wall_ns": 2,
}


def attributes(event: Event) -> dict[str, object]:
    return {name: getattr(event, name) for name in ATTRIBUTES}


async def recorded() -> list[Event]:
    """Make one event of every shape that spanloom has."""
    manager = spanloom.CallbackManager(deep=True)

    async def job(number: int) -> int:
        spanloom.current_event()
        async with manager.event("llm", {"model": "m", "n": number}, name="ask"):
            await asyncio.sleep(0)
        if number == 2:
            raise ValueError("two")
        return number

    with spanloom.use_callback_manager(manager), manager.as_trace("all"):
        await spanloom.async_map(
            job, range(4), limit=2, on_error="return", retry=spanloom.RetryPolicy(attempts=2, base_delay=0)
        )
        await spanloom.run_jobs([job(0), job(1)], workers=spanloom.FixedLimiter(1))
        manager.emit("mark", {"note": "ok"})
    assert manager.recorder is not None
    return manager.recorder.ended()


async def test_every_event_of_a_run_is_read_back_as_it_was() -> None:
    """All attributes of all kinds of events survive the way to the wire and back, and so do the counts."""
    events = await recorded()
    assert {event.type for event in events} >= {
        "trace",
        "batch",
        "job",
        "attempt",
        "backoff",
        "slot_wait",
        "llm",
        "mark",
    }
    for event in events:
        stored = decode(encode(event))
        assert isinstance(stored, StoredEvent)
        assert attributes(stored) == attributes(event)
        assert (stored.counts is None) == (event.counts is None)
        if stored.counts is not None and event.counts is not None:
            assert [getattr(stored.counts, name) for name in COUNTS] == [
                getattr(event.counts, name) for name in COUNTS
            ]
        assert encode(stored) == encode(event)


async def test_the_payload_keys_are_those_that_are_written() -> None:
    """What spanloom attaches to its own events goes by the names in `keys`."""
    written = {
        key
        for event in await recorded()
        if event.type in ("batch", "backoff", "slot_wait")
        for key in event.payload
    }
    with capture_events() as captured:  # its changes are those of every adaptive limiter
        limiter = spanloom.AdaptiveLimiter(adaptation_interval=1e-9, error_tolerance=0)
        for _ in range(2):
            with contextlib.suppress(ValueError):
                async with limiter:
                    raise ValueError
        logger = logging.getLogger("test.keys")
        logger.addHandler(LogEventHandler(per_job=1))
        logger.propagate = False
        with spanloom.get_callback_manager().event():
            logger.warning("shown")
            logger.warning("left out")
    written.update(key for event in captured.events for key in event.payload)
    with spanloom.CallbackManager().event().link({"traceparent": f"00-{1:032x}-{1:016x}-01"}) as linked:
        assert linked.event is not None
        written.update(linked.event.payload)
    diagnosed = {keys.STALLED_S, keys.FINDINGS, keys.HELD_S, keys.LOCATION}  # those of the diagnosis
    assert written == {getattr(keys, name) for name in keys.__all__} - diagnosed


def test_the_wire_form() -> None:
    """The form is the documented one: ids in lowercase hexadecimal digits, times in nanoseconds, plain strings."""
    failed = ErrorInfo("ValueError", "no", (Frame("f.py", 3, "g"),))
    event = ScopeEvent(
        "llm", "ask", 0xAB, 0xCD, Trace("t", 1, 0xEF), 100, {"k": [1, "x"]},
        attempt=2, end_ns=300, failure=EventStatus.ERROR, error=failed,
    )  # fmt: skip
    assert json.loads(encode(event)) == {
        "v": SCHEMA_VERSION,
        "type": "llm",
        "name": "ask",
        "event_id": "00000000000000ab",
        "trace_id": "000000000000000000000000000000ef",
        "start_ns": 100,
        "start_wall_ns": event.start_wall_ns,
        "parent_id": "00000000000000cd",
        "end_ns": 300,
        "end_wall_ns": event.end_wall_ns,
        "status": "error",
        "error": {"type": "ValueError", "message": "no", "frames": [["f.py", 3, "g"]]},
        "payload": {"k": [1, "x"]},
        "attempt": 2,
    }


def test_an_open_event_is_written_as_open() -> None:
    """What has not ended has no end and no status, before and after."""
    stored = decode(encode(ScopeEvent("step", "a", 1, None, Trace("t", 1), 100)))
    assert (stored.end_ns, stored.end_wall_ns, stored.status, stored.duration_ns) == (None, None, None, None)
    assert stored.age_ns > 0


TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
EVENT_ID = st.integers(1, 2**64 - 1).map("{:016x}".format)
NUMBER = st.integers(-(2**70), 2**70)


def with_unknown(known: dict[str, st.SearchStrategy[object]], optional: dict[str, st.SearchStrategy[object]]):
    """Objects with the given fields, and some that this version has never heard of."""
    fixed = st.fixed_dictionaries(known, optional=optional)
    unknown = st.dictionaries(
        TEXT.filter(lambda key: key not in known and key not in optional), JSON, max_size=3
    )
    return st.tuples(unknown, fixed).map(lambda parts: parts[0] | parts[1])


WIRE = with_unknown(
    {
        "v": st.integers(1, 9),
        "type": TEXT,
        "name": TEXT,
        "event_id": EVENT_ID,
        "trace_id": st.integers(1, 2**128 - 1).map("{:032x}".format),
        "start_ns": NUMBER,
        "start_wall_ns": NUMBER,
    },
    {
        "parent_id": st.none() | EVENT_ID,
        "end_ns": st.none() | NUMBER,
        "end_wall_ns": NUMBER,
        "status": st.none() | TEXT,
        "error": st.none()
        | with_unknown(
            {"type": TEXT, "message": TEXT},
            {"frames": st.lists(st.tuples(TEXT, NUMBER, TEXT).map(list), max_size=2)},
        ),
        "payload": st.none() | st.dictionaries(TEXT, JSON, max_size=3),
        "queue_ns": NUMBER,
        "busy_ns": NUMBER,
        "attempt": NUMBER,
        "job_index": NUMBER,
        "batch_id": EVENT_ID,
        "counts": st.none()
        | with_unknown(
            {},
            {"total": st.none() | NUMBER}
            | dict.fromkeys(
                ("started", "in_flight", "failed", "cancelled", "backing_off", "retried"), NUMBER
            ),
        ),
        "is_point": st.booleans(),
    },
)


@given(WIRE)
def test_whatever_a_newer_version_writes_comes_back_unchanged(wire: dict[str, object]) -> None:
    """Unknown versions, types, statuses and fields, at every depth, are written back as they were read."""
    assert json.loads(encode(decode(json.dumps(wire)))) == wire


@given(st.dictionaries(TEXT, JSON, max_size=5), st.text(), st.text())
def test_any_payload_and_any_name_can_be_written_and_read(
    payload: dict[str, object], type: str, name: str
) -> None:
    """Whatever was attached, secrets apart, the line is valid, and reading and writing it again changes nothing."""
    event = ScopeEvent(type, name, 1, None, Trace("t", 1), 100, payload)
    line = encode(event)
    assert b"\n" not in line
    stored = decode(line)
    assert stored.payload == redact_data(payload)
    assert (stored.type, stored.name) == (redact_text(type), redact_text(name))
    assert encode(stored) == line


def test_what_json_cannot_hold_is_named() -> None:
    """No object of the user's is asked for its text: its type stands for it."""

    class Secret:
        def __repr__(self) -> str:
            raise AssertionError("__repr__ of a user's object was called")

        __str__ = __repr__

    failed = ErrorInfo("E\ud800", "m\ud800", (Frame("\udcff.py", 1, "f"),))
    payload = {"s": Secret(), "b": b"x"}
    event = ScopeEvent("step\ud800", "a" * 1000, 1, None, Trace("t", 1), 100, payload, error=failed)
    wire = json.loads(encode(event))
    assert wire["payload"] == {"s": f"<{__name__}.{Secret.__qualname__}>", "b": "<bytes>"}
    assert (wire["type"], len(wire["name"])) == ("step\\ud800", 500)
    assert wire["error"] == {"type": "E\\ud800", "message": "m\\ud800", "frames": [["\\udcff.py", 1, "f"]]}


def test_a_reader_may_replace_what_it_knows_better() -> None:
    """Changes of a stored event are written; what a newer version wrote about a removed part goes with it."""
    wire = MINIMAL | {"error": {"type": "E", "message": "m", "errno": 5}, "zone": "x"}
    stored = decode(json.dumps(wire))
    changed = msgspec.structs.replace(stored, status="interrupted")
    assert json.loads(encode(changed)) == wire | {"status": "interrupted"}
    without = json.loads(encode(msgspec.structs.replace(stored, error=None)))
    assert without == MINIMAL | {"zone": "x"}


def test_the_ages_of_stored_events() -> None:
    """The age of an ended event is its duration; of an open one, the time since its start, never negative."""
    assert decode(json.dumps(MINIMAL | {"end_ns": 41})).age_ns == 40
    assert decode(json.dumps(MINIMAL)).age_ns > 10**18
    assert decode(json.dumps(MINIMAL | {"start_wall_ns": 10**20})).age_ns == 0


@pytest.mark.parametrize("as_type", [bytes, bytearray, memoryview, lambda data: data.decode()])
def test_any_kind_of_buffer_can_be_read(as_type) -> None:
    """Bytes, a mutable buffer, a view of one, or text."""
    assert decode(as_type(json.dumps(MINIMAL).encode())).event_id == 0xAA


def changed(**fields: object) -> bytes:
    return json.dumps({key: value for key, value in (MINIMAL | fields).items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"nope", "malformed"),
        (b"[]", "Expected `object`, got `array`"),
        (b"\xff\xfe", "malformed"),
        (b'{"v": "\xff"}', "utf-8"),
        ("\ud800", "surrogates"),
        (b'{"a":' * 200_000, "recursion|Stack overflow"),
        (b'{"a": 1e999}', "out of range"),
        (changed(v=...), "missing required field `v`"),
        (changed(v=0), r"`int` >= 1 - at `\$.v`"),
        (changed(v="1"), r"Expected `int`, got `str` - at `\$.v`"),
        (changed(type=None), r"at `\$.type`"),
        (changed(event_id="AA" * 8), r"at `\$.event_id`"),
        (changed(event_id="0" * 16), r"at `\$.event_id`"),
        (changed(event_id="a" * 16 + "\n"), r"at `\$.event_id`"),
        (changed(event_id=7), r"at `\$.event_id`"),
        (changed(trace_id="a" * 16), r"at `\$.trace_id`"),
        (changed(trace_id="0" * 32), r"at `\$.trace_id`"),
        (changed(parent_id=""), r"at `\$.parent_id`"),
        (changed(batch_id="x" * 16), r"at `\$.batch_id`"),
        (changed(start_ns=1.5), r"Expected `int`, got `float` - at `\$.start_ns`"),
        (changed(end_ns=True), r"Expected `int \| null`, got `bool` - at `\$.end_ns`"),
        (changed(payload=[]), r"at `\$.payload`"),
        (changed(error={"type": "E"}), r"missing required field `message` - at `\$.error`"),
        (changed(error={"type": "E", "message": "m", "frames": [["f", 1]]}), r"at `\$.error.frames\[0\]`"),
        (changed(counts={"started": "many"}), r"at `\$.counts.started`"),
        (changed(is_point=1), r"at `\$.is_point`"),
    ],
    ids=lambda value: "" if isinstance(value, str) else ascii(value[:60]),
)
def test_what_is_not_an_event_is_refused(data: bytes | str, says: str) -> None:
    """A plain ValueError says what is wrong, where, and what was given, in bounded words; nothing is chained to it."""
    with pytest.raises(ValueError, match=says) as caught:
        decode(data)
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith("not an event: ")
    assert "(got '" in str(caught.value)
    assert len(str(caught.value)) < 300
    assert caught.value.__cause__ is None
    assert str(caught.value).isprintable()


@given(st.binary(max_size=40))
def test_no_input_does_more_than_raise_a_value_error(data: bytes) -> None:
    """Arbitrary bytes are never anything worse than refused."""
    with pytest.raises(ValueError, match="not an event"):
        decode(data)


def line(event_id: int, **fields: object) -> dict[str, object]:
    return MINIMAL | {"event_id": f"{event_id:016x}"} | fields


def test_lines_are_written_and_read_as_a_stream(tmp_path) -> None:
    """A file of events can be appended to, and read line by line without being loaded."""
    path = tmp_path / "events.jsonl"
    events = [decode(json.dumps(line(number))) for number in (1, 2, 3)]
    with path.open("wb") as file:
        file.writelines(encode_lines(events[:2]))
    with path.open("ab") as file:
        file.writelines(encode_lines(iter(events[2:])))
    with path.open("rb") as file:
        stream = decode_lines(file)
        assert next(stream).event_id == 1
        assert [event.event_id for event in stream] == [2, 3]


@pytest.mark.parametrize("form", [lambda text: text, str.encode, str.splitlines, io.StringIO], ids=str)
def test_lines_come_in_many_forms(form) -> None:
    """The whole text, its bytes, a list, or a file; blank lines are passed over."""
    text = json.dumps(line(1)) + "\n\n  \r\n" + json.dumps(line(2)) + "\r\n"
    assert [event.event_id for event in decode_lines(form(text))] == [1, 2]


def test_a_torn_line_is_named_after_those_before_it_were_read() -> None:
    """The writer was killed: everything before the torn line is there, and the error gives the line's number."""
    torn = json.dumps(line(1)).encode() + b"\n\n" + json.dumps(line(2)).encode()[:50]
    stream = decode_lines(torn)
    assert next(stream).event_id == 1
    with pytest.raises(ValueError, match=r"^line 3: not an event: Input data was truncated") as caught:
        next(stream)
    assert type(caught.value) is ValueError


def test_the_events_of_one_trace_share_it() -> None:
    """Children come before their root; once that is read, the shared trace has its name."""
    child, root, other = decode_lines(
        "\n".join(
            json.dumps(item)
            for item in (
                line(2, parent_id=f"{1:016x}"),
                line(1, name="root"),
                line(3, trace_id="c" * 32),
            )
        )
    )
    assert child.trace is root.trace
    assert child.trace is not other.trace
    assert (child.trace.name, child.trace.root_id, child.trace.trace_id) == ("root", 1, 0xBB)


def test_the_shared_traces_are_bounded() -> None:
    """Reading a file of a million traces does not keep a million traces."""
    lines = [json.dumps(line(1, trace_id=f"{number:032x}")) for number in range(1, 1100)]
    events = list(decode_lines([lines[0], *lines, lines[0], lines[-1], lines[-1]]))
    assert events[0].trace is events[1].trace
    assert events[-3].trace is not events[0].trace
    assert events[-1].trace is events[-2].trace is events[-4].trace


def test_the_payload_may_be_written_to_after_the_end() -> None:
    """What is attached late is in what is encoded later."""
    event = ScopeEvent("step", "a", 1, None, Trace("t", 1), 100)
    assert "payload" not in json.loads(encode(event))
    data_of(event)["late"] = 1
    assert json.loads(encode(event))["payload"] == {"late": 1}
