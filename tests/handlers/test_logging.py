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

from spanloom import RetryPolicy, async_map, get_callback_manager, retry, run_jobs, use_callback_manager
from spanloom.callbacks import CallbackManager, ambient
from spanloom.callbacks.ambient import current_attempt
from spanloom.events.event import Event
from spanloom.handlers.logging import LogEventHandler, LoggingHandler, TraceIdFilter, add_trace_ids
from spanloom.testing import capture_events


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
    assert record.getMessage().endswith(": ValueError: line break \\x1b[31m")
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


def test_the_lines_of_an_attempt_tell_its_number() -> None:
    """What is logged in an attempt has its number, wherever inside of it, and what is logged after has none."""
    sink = Records()
    sink.addFilter(TraceIdFilter())
    logger = own_logger(sink)
    calls = 0

    async def fetch() -> None:
        nonlocal calls
        calls += 1
        logger.warning("fetch")
        with manager.event("step"):
            logger.warning("step")
        if calls < 2:
            raise ConnectionError

    async def main() -> None:
        await retry(fetch, base_delay=0)
        logger.warning("after")
        await run_jobs([fetch], retry=RetryPolicy(base_delay=0))

    manager = CallbackManager()
    with use_callback_manager(manager), manager.as_trace("run"):
        asyncio.run(main())
    told = [(record.getMessage(), vars(record)["attempt"]) for record in sink.records]
    assert told == [
        *[("fetch", 1), ("step", 1), ("fetch", 2), ("step", 2)],
        ("after", "-"),
        *[("fetch", 1), ("step", 1)],
    ]


def test_a_job_inside_an_attempt_is_in_none() -> None:
    """A batch inside of an attempt has jobs of its own, which are not retried."""
    seen: list[tuple[str, int | None]] = []

    async def inner() -> None:
        seen.append(("job", current_attempt()))
        await retry(innermost)
        seen.append(("job", current_attempt()))

    async def innermost() -> None:
        seen.append(("innermost", current_attempt()))

    async def outer() -> None:
        await run_jobs([inner])
        seen.append(("outer", current_attempt()))

    with use_callback_manager(CallbackManager()):
        asyncio.run(retry(outer))
    assert seen == [("job", None), ("innermost", 1), ("job", None), ("outer", 1)]


# lines under events ---------------------------------------------------------------------------------------------------


def test_lines_are_put_under_their_job() -> None:
    """What a job logs is a point event under it, with level, text and the type of an exception."""
    logger = own_logger(LogEventHandler(logging.INFO))

    async def talk(number: int) -> None:
        logger.debug("not this")
        logger.info("number %d", number)
        try:
            raise KeyError(number)
        except KeyError:
            logger.exception("failed")

    with capture_events() as captured:
        logger.warning("outside")
        asyncio.run(async_map(talk, range(2)))
    name = logger.name
    job = f"  job {talk.__qualname__.rpartition('.')[2]} #"
    assert captured.tree().splitlines()[1:] == [
        line for number in range(2) for line in (f"{job}{number} ok", *[f"    log {name} point"] * 2)
    ]
    logs = [dict(event.payload) for event in captured.events if event.type == "log" and event.job_index == 1]
    assert logs == [
        {"level": "INFO", "message": "number 1"},
        {"level": "ERROR", "message": "failed", "error": "KeyError"},
    ]


def test_lines_of_a_job_are_bounded() -> None:
    """Beyond the bound, lines are left out, and the job tells how many; other jobs have room of their own."""
    logger = own_logger(LogEventHandler(per_job=3))

    async def talk(lines: int) -> None:
        with get_callback_manager().event("step"):
            for number in range(lines):
                logger.warning("%d %s", number, "x" * 10_000)

    with capture_events() as captured:
        asyncio.run(async_map(talk, [2, 5]))
    logs = [event for event in captured.events if event.type == "log"]
    assert [event.job_index for event in logs].count(0) == 2
    assert [event.job_index for event in logs].count(1) == 3
    assert {len(str(event.payload["message"])) for event in logs} == {500}
    jobs = {event.job_index: dict(event.payload) for event in captured.events if event.type == "job"}
    assert jobs == {0: {}, 1: {"logs_left_out": 2}}
    with pytest.raises(ValueError, match="at least 1"):
        LogEventHandler(per_job=0)


def test_what_counts_lines_is_bounded_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts of jobs that log no more are forgotten."""
    monkeypatch.setattr("spanloom.handlers.logging.COUNTED_JOBS", 10)
    handler = LogEventHandler()
    logger = own_logger(handler)
    with use_callback_manager(CallbackManager()) as manager:
        for _ in range(100):
            with manager.event():
                logger.warning("line")
    assert len(handler._counts) == 10


def test_spanloom_s_own_records_do_not_go_round() -> None:
    """A `LoggingHandler` that logs the events of lines makes no new lines of it."""
    root = logging.getLogger()
    handler = LogEventHandler()
    root.addHandler(handler)
    logger = logging.getLogger("spanloom.events")
    logger.setLevel(logging.DEBUG)
    try:
        with capture_events() as captured:
            manager = get_callback_manager()
            manager.add_handler(LoggingHandler())
            with manager.event():
                logging.getLogger("mine").warning("line")
                logger.warning("own")
            manager.flush()
            manager.close()
    finally:
        root.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert captured.tree() == "step step ok\n  log mine point"


def test_a_line_that_cannot_be_formatted_is_the_logging_module_s_affair(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A line whose arguments do not fit is reported as by every handler, and the program goes on."""
    logger = own_logger(LogEventHandler())
    with capture_events() as captured, get_callback_manager().event():
        logger.warning("%d", "no number")
    assert captured.tree() == "step step ok"
    assert "--- Logging error ---" in capsys.readouterr().err


def test_a_message_that_cannot_be_told_does_not_fail_the_line() -> None:
    """Of structlog, whose messages may be any objects; the program's own processors get it as it is."""

    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    mute = Mute()
    with capture_events() as captured, get_callback_manager().event():
        assert LogEventHandler().process(None, "info", {"event": mute}) == {"event": mute}
    (line,) = (event for event in captured.events if event.is_point)
    assert line.payload["message"].endswith("Mute>")


def test_lines_of_structlog_are_put_under_their_event() -> None:
    """The processor puts a line as the handler does, keeps the fields as they are, and heeds the level."""
    stream = io.StringIO()
    log = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[LogEventHandler(logging.INFO).process, structlog.processors.JSONRenderer(default=repr)],
    )
    with capture_events() as captured, get_callback_manager().event():
        log.debug("not this")
        log.warning("slow", seconds=3)
        log.error("failed", exc_info=KeyError("no"))
        try:
            raise OSError
        except OSError as error:
            log.exception("failed")
            log.error("failed", exc_info=(type(error), error, None))
    assert [dict(event.payload) for event in captured.events if event.is_point] == [
        {"level": "WARNING", "message": "slow"},
        {"level": "ERROR", "message": "failed", "error": "KeyError"},
        {"level": "ERROR", "message": "failed", "error": "OSError"},
        {"level": "ERROR", "message": "failed", "error": "OSError"},
    ]
    assert json.loads(stream.getvalue().splitlines()[1]) == {"event": "slow", "seconds": 3}
