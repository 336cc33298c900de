"""The one face of all events: the same attributes, read-only, whichever record stands behind."""

from __future__ import annotations

import gc
import inspect
import weakref

import msgspec
import pytest

from spanloom.events import BatchCounts, ErrorInfo, Event, EventType, decode, encode
from spanloom.events.clock import wall_ns
from spanloom.events.event import (
    JobEvent,
    JobFamily,
    ScopeEvent,
    data_of,
    detail_of,
    fail_scope,
    write_event,
)
from spanloom.events.ids import event_id_at
from spanloom.events.trace import Trace

TRACE = Trace("root", 1)
FIELDS = sorted(
    {name for name, value in vars(Event).items() if isinstance(value, property)}
    | {
        "type", "name", "event_id", "parent_id", "start_ns", "end_ns", "status", "error", "queue_ns", "busy_ns",
        "attempt", "job_index", "batch_id", "counts", "is_point", "trace", "data", "job",
    }
)  # fmt: skip


def scope(**changes: object) -> ScopeEvent:
    fields: dict[str, object] = {
        "type": "step", "name": "a", "event_id": 2, "parent_id": 1, "trace": TRACE, "start_ns": 100,
    }  # fmt: skip
    return ScopeEvent(**fields | changes)  # type: ignore[arg-type]  # a test's factory


def job(ready_ns: int | None = 40) -> JobEvent:
    family = JobFamily(
        batch_id=9, trace=TRACE, name="fetch", base_id=77, ready_ns=ready_ns, counts=BatchCounts(3)
    )
    return JobEvent(family, 2, 100)


def test_every_kind_of_event_has_every_attribute() -> None:
    """A handler need not ask what kind of record it has: all attributes are there, open or ended, live or read back."""
    ended_scope, ended_job = scope(), job()
    write_event(ended_scope, "end_ns", 200)
    write_event(ended_job, "end_ns", 200)
    for event in (scope(), ended_scope, job(), ended_job, decode(encode(ended_job)), decode(encode(scope()))):
        for field in FIELDS:
            getattr(event, field)
        assert isinstance(event, Event)


def test_every_attribute_is_documented() -> None:
    """Events are the product: each attribute is explained in the docstring of `Event`."""
    text = inspect.getdoc(Event) or ""
    inside = {"trace", "data", "job"}  # of the records, not of the face
    explained_at_home = {name for name, value in vars(Event).items() if getattr(value, "__doc__", None)}
    missing = [name for name in FIELDS if name not in text and name not in inside | explained_at_home]
    assert missing == []


@pytest.mark.parametrize(
    "make", [scope, job, lambda: decode(encode(scope()))], ids=["scope", "job", "stored"]
)
@pytest.mark.parametrize("field", FIELDS)
def test_an_event_is_read_only(make, field: str) -> None:
    """No handler changes what the next handler sees."""
    event = make()
    with pytest.raises((AttributeError, TypeError)):
        setattr(event, field, None)
    with pytest.raises((AttributeError, TypeError)):
        delattr(event, field)
    with pytest.raises(AttributeError):
        event.something_new = 1


@pytest.mark.parametrize("make", [scope, job], ids=["scope", "job"])
def test_the_payload_is_read_only(make) -> None:
    """The payload cannot be written through the event; it is empty, not missing, where nothing was attached."""
    event = make()
    assert event.payload == {}
    with pytest.raises(TypeError):
        event.payload["a"] = 1
    data_of(event)["a"] = 1
    assert event.payload == {"a": 1}
    assert data_of(event) is data_of(event)
    with pytest.raises(TypeError):
        event.payload["a"] = 2


def test_a_scope_is_completed_once() -> None:
    """An open scope has no end, status or duration; completing writes all of them."""
    event = scope()
    assert (event.end_ns, event.status, event.duration_ns, event.end_wall_ns) == (None, None, None, None)
    assert event.age_ns > 0
    write_event(event, "end_ns", 350)
    assert (event.end_ns, event.status, event.duration_ns, event.age_ns) == (350, "ok", 250, 250)
    assert (event.start_wall_ns, event.end_wall_ns) == (wall_ns(100), wall_ns(350))


def test_a_failed_scope_has_no_status_before_its_end() -> None:
    """What ended a scope is written first, and seen as its status once the end is there."""
    event = scope()
    fail_scope(event, TimeoutError("late"))
    assert event.status is None
    write_event(event, "end_ns", 350)
    assert (event.status, event.error) == ("timeout", ErrorInfo("TimeoutError", "late"))


def test_a_job_is_told_apart_by_its_index() -> None:
    """What a job shares with its siblings comes from the family, its id from the family's range."""
    event = job()
    assert (event.type, event.name, event.parent_id, event.batch_id) == ("job", "fetch", 9, 9)
    assert event.event_id == event_id_at(77, 2) == event.family.id_at(2)
    assert (event.job_index, event.trace_id, event.job) == (2, TRACE.trace_id, event)
    assert (event.counts, event.is_point) == (None, False)


def test_the_queue_time_of_a_job_counts_from_when_it_could_run() -> None:
    """A job that waited for a slot shows it; one that came and ran at once waited for zero."""
    assert job(ready_ns=40).queue_ns == 60
    assert job(ready_ns=None).queue_ns == 0


def test_a_job_without_detail_ended_well() -> None:
    """Most jobs have no detail: open they have no status, ended they are ok."""
    event = job()
    assert (event.status, event.error, event.attempt, event.busy_ns, event.data) == (
        None,
        None,
        None,
        None,
        None,
    )
    write_event(event, "end_ns", 400)
    assert (event.status, event.duration_ns) == ("ok", 300)


def test_the_detail_of_a_job_is_made_once() -> None:
    """What is special about a job is kept in one detail, and the status is told only after the end."""
    event = job()
    detail = detail_of(event)
    assert detail_of(event) is detail
    detail.attempt, detail.busy_ns = 2, 5
    write_event(event, "end_ns", 400)
    assert (event.status, event.attempt, event.busy_ns) == ("ok", 2, 5)
    detail.status, detail.error = "error", ErrorInfo("ValueError", "no")
    assert (event.status, event.error) == ("error", ErrorInfo("ValueError", "no"))


def test_the_queue_time_of_a_slot_wait_is_its_duration() -> None:
    """A wait for a slot is queue time; other scopes have none."""
    wait, other = scope(type=EventType.SLOT_WAIT), scope()
    write_event(wait, "end_ns", 350)
    write_event(other, "end_ns", 350)
    assert (wait.queue_ns, other.queue_ns) == (250, None)


def test_a_scope_knows_its_job_and_a_batch_itself() -> None:
    """An event inside a job has that job's index and batch; a batch's batch is itself; elsewhere there is none."""
    inside, batch, outside = scope(job=job()), scope(counts=BatchCounts(3)), scope()
    assert (inside.job_index, inside.batch_id) == (2, 9)
    assert (batch.job_index, batch.batch_id) == (None, 2)
    assert (outside.job_index, outside.batch_id) == (None, None)


def test_events_are_told_apart_by_identity() -> None:
    """Two records with equal fields are two events, and both can be keys."""
    one, other = scope(), scope()
    assert one != other
    assert len({one, other, job(), job()}) == 4


def test_a_scope_can_be_referred_to_weakly() -> None:
    """A handler that keys something by a scope need not keep it alive."""
    event = scope()
    reference = weakref.ref(event)
    del event
    gc.collect()
    assert reference() is None


def test_records_are_structs() -> None:
    """The hot records stay msgspec structs: a dataclass costs ten times as much to make."""
    assert issubclass(ScopeEvent, msgspec.Struct)
    assert issubclass(JobEvent, msgspec.Struct)


def test_an_event_at_a_prompt_is_one_short_line() -> None:
    """Its type, name and place, how it ended and after how long; no id and nothing of the record behind it."""
    failed = scope(type="attempt", name="fetch", attempt=2, start_ns=0)
    fail_scope(failed, ValueError("no"))
    write_event(failed, "end_ns", 1_500_000_000)
    assert repr(failed) == "<Event attempt fetch #2, error after 1.5 s, ValueError>"
    ended = job()
    write_event(ended, "end_ns", 100 + 20_000_000)
    assert repr(ended) == repr(decode(encode(ended))) == "<Event job fetch[2], ok after 0.02 s>"
    assert repr(scope(is_point=True)) == "<Event step a>"
    batch = scope(type="batch", counts=BatchCounts(None))
    assert repr(batch).startswith("<Event batch a, open for ")
    assert repr(batch).endswith(" s, 0 of ? jobs>")
    assert "_" not in repr(batch.counts).replace("in_flight", "").replace("backing_off", "")
    assert repr(TRACE) == f"Trace(name='root', trace_id=0x{TRACE.trace_id:032x})"
