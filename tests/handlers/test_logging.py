"""LoggingHandler writes events as records; the filter and the processor put event ids into other lines."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import Iterator

import pytest
import structlog

from spanloom import async_map, use_callback_manager
from spanloom.callbacks import CallbackManager, ambient
from spanloom.events.event import Event
from spanloom.handlers.logging import LoggingHandler, TraceIdFilter, add_trace_ids


class Records(logging.Handler):
    """Keeps the records it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def fields(self, name: str) -> list[object]:
        return [getattr(record, f"spanloom_{name}") for record in self.records]


@pytest.fixture
def records() -> Iterator[Records]:
    """Collect what the logger spanloom.events writes, and leave it as it was."""
    logger, handler = logging.getLogger("spanloom.events"), Records()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def own_logger(handler: logging.Handler) -> logging.Logger:
    """Return a logger that nobody else uses, with `handler` alone."""
    logger = logging.getLogger(f"test.{id(handler)}")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    return logger


async def visit(number: int) -> None:
    await asyncio.sleep(0)
    if number == 1:
        raise ValueError("line\nbreak \x1b[31m")
    if number == 2:
        raise TimeoutError


def run_three_jobs(handler: LoggingHandler) -> CallbackManager:
    manager = CallbackManager([handler])
    with use_callback_manager(manager), manager.as_trace("run"):
        asyncio.run(async_map(visit, range(3), on_error="return", desc="work"))
    manager.flush()
    return manager


def test_every_ended_event_is_one_record(records: Records) -> None:
    """Jobs at DEBUG, errors and timeouts at WARNING, each with its name, status and duration."""
    run_three_jobs(LoggingHandler()).close()
    shown = sorted((record.levelname, record.getMessage().split(" after ")[0]) for record in records.records)
    assert shown == [
        ("DEBUG", "batch work: ok"),
        ("DEBUG", "job visit[0]: ok"),
        ("DEBUG", "trace run: ok"),
        ("WARNING", "job visit[1]: error"),
        ("WARNING", "job visit[2]: timeout"),
    ]


def test_control_characters_are_escaped_in_the_message_only(records: Records) -> None:
    """A message cannot forge a line or colour a terminal; the field has the text as it was."""
    run_three_jobs(LoggingHandler()).close()
    (record,) = [record for record in records.records if "visit[1]" in record.getMessage()]
    assert record.getMessage().endswith(": ValueError: line\\nbreak \\x1b[31m")
    assert vars(record)["spanloom_error_message"] == "line\nbreak \x1b[31m"
    assert vars(record)["spanloom_error_type"] == "ValueError"


def test_the_fields_name_the_event_and_its_place(records: Records) -> None:
    """Ids are hex of full width, and parents, indexes and times are those of the event."""
    run_three_jobs(LoggingHandler()).close()
    assert len(set(records.fields("trace_id"))) == 1
    assert all(isinstance(id, str) and len(id) == 32 for id in records.fields("trace_id"))
    by_type = {vars(record)["spanloom_type"]: vars(record) for record in records.records}
    assert by_type["trace"]["spanloom_parent_id"] is None
    assert by_type["batch"]["spanloom_parent_id"] == by_type["trace"]["spanloom_event_id"]
    assert by_type["job"]["spanloom_parent_id"] == by_type["batch"]["spanloom_event_id"]
    assert sorted(filter(lambda index: index is not None, records.fields("job_index"))) == [0, 1, 2]
    assert by_type["job"]["spanloom_queue_ms"] >= 0
    assert 0 < by_type["batch"]["spanloom_duration_ms"] <= by_type["trace"]["spanloom_duration_ms"]


def test_records_go_through_a_json_formatter(records: Records) -> None:
    """All fields are plain values."""
    run_three_jobs(LoggingHandler()).close()
    for record in records.records:
        fields = {key: value for key, value in vars(record).items() if key.startswith("spanloom_")}
        assert json.loads(json.dumps(fields)) == fields
        assert len(fields) == 13


def test_a_record_has_the_time_of_its_event(records: Records) -> None:
    """The date of a record is the end of its event, however late it is written."""
    handler = LoggingHandler()
    manager = CallbackManager()
    events: list[Event] = []
    with manager.event("step", name="load") as context:
        before = time.time()
        assert context.event is not None
        events.append(context.event)
    after = time.time()
    time.sleep(0.03)
    handler.on_events(events)
    (record,) = records.records
    assert before - 0.005 <= record.created <= after + 0.005
    assert int(record.created * 1000) % 1000 - record.msecs in (-1, 0, 1)


def test_levels_types_and_logger_can_be_chosen(caplog: pytest.LogCaptureFixture) -> None:
    """Only the wanted types arrive, at the wanted levels, at the named logger."""
    with caplog.at_level(logging.DEBUG, "mine"):
        run_three_jobs(
            LoggingHandler("mine", level=logging.INFO, error_level=logging.ERROR, types={"job"})
        ).close()
    assert min(caplog.record_tuples)[:2] == ("mine", logging.INFO)
    assert [record.levelno for record in caplog.records if record.name == "mine"].count(logging.ERROR) == 2
    assert {vars(record)["spanloom_type"] for record in caplog.records if record.name == "mine"} == {"job"}
    with pytest.raises(TypeError, match="set of event types"):
        LoggingHandler(types="job")


def test_a_level_that_is_off_makes_no_record(records: Records) -> None:
    """Where DEBUG is off, a good run writes nothing, and failures still appear."""
    logging.getLogger("spanloom.events").setLevel(logging.WARNING)
    run_three_jobs(LoggingHandler(logging.getLogger("spanloom.events"))).close()
    assert {record.levelname for record in records.records} == {"WARNING"}
    assert len(records.records) == 2


def test_attempts_and_points_are_told_apart(records: Records) -> None:
    """An attempt carries its number; a point event has no duration to tell."""
    manager = CallbackManager([LoggingHandler()])
    with manager.attempt("attempt", "fetch", 2):
        manager.emit(name="half way")
    manager.close()
    assert records.records[0].getMessage() == "mark half way"
    assert records.records[1].getMessage().startswith("attempt fetch #2: ok after ")


def test_a_log_handler_that_emits_events_itself_does_not_loop() -> None:
    """An event made while a record is written is not logged again."""

    class Emitting(Records):
        def emit(self, record: logging.LogRecord) -> None:
            super().emit(record)
            manager.emit(name="from the log")
            with manager.event("step", name="from the log"):
                pass

    sink = Emitting()
    manager = CallbackManager([LoggingHandler(own_logger(sink))])
    manager.emit(name="once")
    assert manager.flush()
    assert [record.getMessage() for record in sink.records] == ["mark once"]
    assert manager.stats().handlers[0].errors == 0
    manager.close()


# ids in other lines ---------------------------------------------------------------------------------------------------


def test_the_filter_adds_the_ids_of_the_current_event() -> None:
    """A format string may name the ids on every line, inside of events and outside."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(TraceIdFilter())
    handler.setFormatter(logging.Formatter("%(trace_id)s %(event_id)s %(job_index)s %(message)s"))
    logger = own_logger(handler)
    manager = CallbackManager()
    with use_callback_manager(manager):
        logger.warning("outside")
        with manager.event("step") as context:
            logger.warning("inside")
        logger.warning("mine", extra={"trace_id": "own"})
    assert stream.getvalue().splitlines() == [
        "- - - outside",
        f"{context.trace_id:032x} {context.event_id:016x} - inside",
        "own - - mine",
    ]


async def test_lines_of_concurrent_jobs_carry_their_own_ids() -> None:
    """Each job's lines have that job's index and id, with a hundred of them running at once."""
    sink = Records()
    sink.addFilter(TraceIdFilter())
    logger = own_logger(sink)

    async def talk(number: int) -> None:
        await asyncio.sleep(0)
        logger.warning("%s", number)
        await asyncio.sleep(0)
        logger.warning("%s", number)

    with use_callback_manager(CallbackManager()):
        await async_map(talk, range(100), limit=100)
    assert len(sink.records) == 200
    assert all(vars(record)["job_index"] == int(record.getMessage()) for record in sink.records)
    assert len({vars(record)["event_id"] for record in sink.records}) == 100
    assert len({vars(record)["trace_id"] for record in sink.records}) == 1


def test_the_structlog_processor_adds_the_ids() -> None:
    """Structlog lines carry the ids inside of events, nothing outside, and keep what they have."""
    stream = io.StringIO()
    log = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[add_trace_ids, structlog.processors.JSONRenderer(sort_keys=True)],
    )
    manager = CallbackManager()

    async def talk(number: int) -> None:
        log.info("in a job")

    with use_callback_manager(manager):
        log.info("outside")
        with manager.event("step") as context:
            log.info("inside")
            log.info("mine", trace_id="own")
            asyncio.run(async_map(talk, [0]))
    ids = {"trace_id": f"{context.trace_id:032x}", "event_id": f"{context.event_id:016x}"}
    *lines, in_job = map(json.loads, stream.getvalue().splitlines())
    assert lines == [
        {"event": "outside"},
        {"event": "inside", **ids},
        {"event": "mine", **ids, "trace_id": "own"},
    ]
    assert in_job["job_index"] == 0
    assert in_job["trace_id"] == ids["trace_id"]


def test_a_line_that_is_logged_before_there_is_a_manager_does_not_make_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asking for the ids of the current event is no reason to make the process's default manager."""
    sink = Records()
    sink.addFilter(TraceIdFilter())
    logger = own_logger(sink)

    def factory() -> CallbackManager:
        raise AssertionError("nobody needs a manager here")

    monkeypatch.setattr(ambient, "_default", None)
    monkeypatch.setattr(ambient, "_factory", factory)
    logger.warning("first")
    assert [record.getMessage() for record in sink.records] == ["first"]
