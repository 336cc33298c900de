"""Events as records of the standard library's `logging`, and their ids in everybody's log lines.

`LoggingHandler` writes one record per ended event. `TraceIdFilter` (for ``logging``) and `add_trace_ids` (for
structlog) do the opposite: they add the ids of the current event to lines that the program logs, so that a line can be
found from its trace and vice versa. `LogEventHandler` makes such lines events under the current one.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, MutableMapping, Sequence
from typing import Final

from spanloom._numbers import check_count
from spanloom.callbacks.ambient import current_attempt, current_event, get_callback_manager
from spanloom.events import keys
from spanloom.events.event import Event, data_of
from spanloom.events.handler import Handler
from spanloom.events.plain import placeholder, plain_text
from spanloom.events.types import FAILED, EventType
from spanloom.handlers._text import NUMBERED, called, format_ns, one_line
from spanloom.redaction import redact_text

__all__ = ["LogEventHandler", "LoggingHandler", "TraceIdFilter", "add_trace_ids"]

LOGGER_NAME: Final = "spanloom.events"
MAX_MESSAGE: Final = 500
"""Characters kept of a line that becomes an event, as of the message of an error."""
COUNTED_JOBS: Final = 10_000
"""Jobs whose lines are counted at a time; the one that has logged nothing for longest makes room."""
_IDS: Final = ("trace_id", "event_id", "job_index", "attempt")


class LoggingHandler(Handler):
    """Log one record per ended event and point event, on the handler's own thread.

    The message has the type, name, status and duration of the event, and its error, without secrets and with control
    characters escaped. Payloads are not logged. A record has the time at which its event ended; it is written up to
    100 ms later.

    Each record carries, for formatters that write fields: ``spanloom_trace_id`` (32 hex digits),
    ``spanloom_event_id`` and ``spanloom_parent_id`` (16; the parent's is ``None`` for a root),
    ``spanloom_type``, ``spanloom_name``, ``spanloom_status``, ``spanloom_duration_ms``,
    ``spanloom_queue_ms``, ``spanloom_busy_ms``, ``spanloom_job_index``, ``spanloom_attempt``,
    ``spanloom_error_type`` and ``spanloom_error_message``; ``None`` where an event has no such value.

    Args:
        logger: A logger, or the name of one; by default ``spanloom.events``.
        level: Level of the records of events that ended well, or were cancelled.
        error_level: Level of those that ended with status ``error`` or ``timeout``.
        types: Event types to log; ``None`` means all.

    Raises:
        TypeError: `types` is a single string.
    """

    def __init__(
        self,
        logger: logging.Logger | str | None = None,
        *,
        level: int = logging.DEBUG,
        error_level: int = logging.WARNING,
        types: Collection[str] | None = None,
    ) -> None:
        if isinstance(types, str):
            raise TypeError(f"types is a set of event types, such as {{{types!r}}}, not a string")
        self._logger = (
            logger if isinstance(logger, logging.Logger) else logging.getLogger(logger or LOGGER_NAME)
        )
        self._level = level
        self._error_level = error_level
        self.wants: frozenset[str] | None = None if types is None else frozenset(types)

    def on_events(self, events: Sequence[Event]) -> None:
        """Log ended events."""
        logger = self._logger
        enabled = {level: logger.isEnabledFor(level) for level in (self._level, self._error_level)}
        for event in events:
            level = self._error_level if event.status in FAILED else self._level
            if enabled[level]:
                logger.handle(self._record(level, event))

    def _record(self, level: int, event: Event) -> logging.LogRecord:
        extra = _fields(event)
        record = self._logger.makeRecord(
            self._logger.name, level, "(spanloom)", 0, _message(event), (), None, None, extra
        )
        _date(record, event.end_wall_ns or event.start_wall_ns)
        return record


def _date(record: logging.LogRecord, wall_ns: int) -> None:
    late_s = record.created - wall_ns / 1e9
    record.created -= late_s
    record.msecs = float(wall_ns // 1_000_000 % 1000)
    record.relativeCreated -= late_s * 1000


def _message(event: Event) -> str:
    label = called(event.type, event.name)
    if event.job_index is not None:
        label += f"[{event.job_index}]"
    if event.type in NUMBERED and event.attempt is not None:
        label += f" #{event.attempt}"
    if event.is_point:
        return label
    text = f"{label}: {event.status} after {format_ns(event.duration_ns or 0)}"
    error = event.error
    if error is None:
        return text
    return f"{text}: {one_line(error, 1000)}"


def _fields(event: Event) -> dict[str, object]:
    error = event.error
    return {
        "spanloom_trace_id": f"{event.trace_id:032x}",
        "spanloom_event_id": f"{event.event_id:016x}",
        "spanloom_parent_id": None if event.parent_id is None else f"{event.parent_id:016x}",
        "spanloom_type": redact_text(str(event.type)),
        "spanloom_name": redact_text(event.name),
        "spanloom_status": None if event.status is None else str(event.status),
        "spanloom_duration_ms": _milliseconds(event.duration_ns),
        "spanloom_queue_ms": _milliseconds(event.queue_ns),
        "spanloom_busy_ms": _milliseconds(event.busy_ns),
        "spanloom_job_index": event.job_index,
        "spanloom_attempt": event.attempt,
        "spanloom_error_type": None if error is None else redact_text(error.type),
        "spanloom_error_message": None if error is None else redact_text(error.message),
    }


def _milliseconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6


class TraceIdFilter(logging.Filter):
    """Add the ids of the current event to the program's log records; lets every record pass.

    Sets ``trace_id`` (32 hex digits), ``event_id`` (16), ``job_index`` and ``attempt`` on the record. A value that does
    not exist (no current event, no job, no retry) is ``"-"``, so that a format string may always name all four. Values
    that a record has already, from ``extra=``, are left alone. Add the filter to a handler, not to a logger: a logger's
    filter does not see the records of its children.

    Example::

        handler.addFilter(TraceIdFilter())
        handler.setFormatter(logging.Formatter("%(trace_id)s %(job_index)s %(attempt)s %(message)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the fields."""
        ids = _current_ids()
        for field in _IDS:
            if not hasattr(record, field):
                setattr(record, field, ids.get(field, "-"))
        return True


def add_trace_ids(
    logger: object, method_name: str, event_dict: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Add ``trace_id``, ``event_id`` and, where there are any, ``job_index`` and ``attempt``; for structlog.

    A structlog processor: ``structlog.configure(processors=[..., add_trace_ids, ...])``. Existing keys are left alone;
    outside of any event, nothing is added.

    Args:
        logger: Not used; structlog passes it.
        method_name: Not used; structlog passes it.
        event_dict: The line's fields; changed in place.

    Returns:
        `event_dict`.
    """
    del logger, method_name
    for key, value in _current_ids().items():
        event_dict.setdefault(key, value)
    return event_dict


def _current_ids() -> dict[str, object]:
    event = current_event()
    if event is None:
        return {}
    ids: dict[str, object] = {"trace_id": f"{event.trace_id:032x}", "event_id": f"{event.event_id:016x}"}
    if event.job_index is not None:
        ids["job_index"] = event.job_index
    attempt = current_attempt()
    if attempt is not None:
        ids["attempt"] = attempt
    return ids


class LogEventHandler(logging.Handler):
    """A handler of `logging` that turns records logged inside an event into point events of type ``log`` under it.

    So whatever shows or records events shows the log lines of a job with the job. A point event has the logger's name,
    ``level``, ``message`` and, if an exception was logged, its type as ``error``. Their number per job is bounded; how
    many lines were left out is attached to the job as ``logs_left_out``. Records logged outside of any event, and
    spanloom's own, are ignored.

    ::

        logging.getLogger().addHandler(LogEventHandler(logging.INFO))

    With structlog, `process` is a processor that does the same::

        structlog.configure(processors=[..., LogEventHandler().process, structlog.processors.JSONRenderer()])

    Args:
        level: Lowest level of the records that become events.
        per_job: Most records under one job or, outside of jobs, under one event; at least 1.

    Raises:
        ValueError: `per_job` is below 1.
    """

    def __init__(self, level: int | str = logging.NOTSET, *, per_job: int = 50) -> None:
        super().__init__(level)
        self._per_job = check_count(per_job, "per_job")
        self._counts: dict[int, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Emit a record as a point event under the current event."""
        if record.name.partition(".")[0] == "spanloom":  # it may log an event: an endless loop
            return
        try:
            event = current_event()
            if event is not None and self._has_room(event):
                error = record.exc_info[0] if record.exc_info else None
                self._put(record.name, record.levelname, record.getMessage(), error)
        except Exception:  # noqa: BLE001 -- as every handler of logging does, which then says so
            self.handleError(record)

    def process(
        self, logger: object, method_name: str, event_dict: MutableMapping[str, object]
    ) -> MutableMapping[str, object]:
        """Emit a line of structlog as a point event under the current event; a structlog processor.

        Args:
            logger: Its name is used, if it has one.
            method_name: The method that the program called: ``info`` and the like.
            event_dict: The line's fields; ``event`` is the message. Not changed.

        Returns:
            `event_dict`.
        """
        number = logging.getLevelNamesMapping().get(method_name.upper(), logging.ERROR)
        event = current_event() if number >= self.level else None
        if event is not None and self._has_room(event):
            name = getattr(logger, "name", None)
            error = event_dict.get("exc_info")
            if error is True:
                error = sys.exception()
            elif isinstance(error, tuple):
                error = error[1]
            self._put(
                name if isinstance(name, str) else "structlog",
                logging.getLevelName(number),
                _said(event_dict.get("event", "")),
                type(error) if isinstance(error, BaseException) else None,
            )
        return event_dict

    def _has_room(self, event: Event) -> bool:
        owner = event if event.job is None else event.job
        counts, key = self._counts, owner.event_id
        self.acquire()  # the lock that every `logging.Handler` has, which `logging` renews after a fork
        try:
            count = counts.pop(key, 0) + 1
            counts[key] = count
            while len(counts) > COUNTED_JOBS:
                del counts[next(iter(counts))]
        finally:
            self.release()
        if count > self._per_job:
            data_of(owner)[keys.LOGS_LEFT_OUT] = count - self._per_job
        return count <= self._per_job

    @staticmethod
    def _put(name: str, level: str, message: str, error: type[BaseException] | None) -> None:
        payload: dict[str, object] = {keys.LEVEL: level, keys.MESSAGE: plain_text(message, MAX_MESSAGE)}
        if error is not None:
            payload[keys.ERROR] = error.__name__
        manager = get_callback_manager()
        if manager.active:
            manager.emit(EventType.LOG, payload, name=name)


def _said(message: object) -> str:
    """Return a structlog message, which may be any object, as text."""
    try:
        return str(message)
    except Exception:  # noqa: BLE001 -- the line is the program's, and goes on to its own processors
        return placeholder(type(message))
