"""The composition root: makes objects as environment variables say. The only module that knows both halves.

Importing it loads no handler and reads no environment variable but ``SPANLOOM_INSTRUMENT``. The others are read when
the process's default manager is first needed.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final, cast

from spanloom.callbacks.ambient import set_default_factory
from spanloom.callbacks.everywhere import EVERYWHERE
from spanloom.callbacks.manager import CallbackManager
from spanloom.callbacks.recorder import DEFAULT_CAPACITY
from spanloom.callbacks.registry import set_handler_loader, set_instrumenting
from spanloom.callbacks.standing import STALL_AFTER_S
from spanloom.callbacks.watchdog import WATCHDOG
from spanloom.instrument.instrument import instrument, uninstrument, wanted
from spanloom.instrument.targets import TARGETS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints
    from pathlib import Path

    from spanloom.callbacks.standing import Standing
    from spanloom.handlers.record import RecordHandler

__all__ = [
    "Recording",
    "build_default_manager",
    "handler_names",
    "instrument_as_asked",
    "load_handler",
    "record_process",
    "wanted_handlers",
    "watch_process",
]

GROUP: Final = "spanloom.handlers"

# As in pyproject.toml, for a source tree that is not installed.
_BUILT_IN: Final = {
    "debug": "spanloom.handlers.debug:DebugHandler",
    "logging": "spanloom.handlers.logging:LoggingHandler",
    "otel": "spanloom.handlers.otel:OpenTelemetryHandler",
    "progress": "spanloom.handlers.progress:ProgressHandler",
    "record": "spanloom.handlers.record:RecordHandler",
}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})
MOST_DIGITS: Final = 18
"""Most digits of ``SPANLOOM_RECORDER``: no list can hold more events."""

_logger = logging.getLogger("spanloom")


def build_default_manager() -> CallbackManager:
    """Return a manager configured by environment variables.

    * ``SPANLOOM_HANDLERS``: names of its handlers, separated by commas.
    * ``SPANLOOM_RECORDER``: number of ended events that its flight recorder keeps; 0 switches it off.
    * ``SPANLOOM_DEEP``: 1 measures busy time.
    * ``SPANLOOM_STALL_AFTER``: watch the process, and report a batch that makes no progress for so many seconds; 0 for
      never. If it is not set, `WATCHDOG` reports such a batch after 30 s.

    What cannot be understood or loaded is logged as a warning and ignored: a typo in the environment must not stop a
    program.
    """
    manager = CallbackManager(recorder=_recorder(), deep=_flag("SPANLOOM_DEEP"))
    for name in wanted_handlers():
        _add(manager, name)
    stall_after = _stall_after()
    if stall_after:
        _watch_unless_watched(stall_after)
    return manager


def wanted_handlers() -> list[str]:
    """Return the names in ``SPANLOOM_HANDLERS``, each once."""
    names = (name.strip() for name in os.environ.get("SPANLOOM_HANDLERS", "").split(","))
    return [name for name in dict.fromkeys(names) if name]


@cache
def load_handler(name: str) -> Callable[[], object]:
    """Return the class of the handler called `name` in the entry-point group ``spanloom.handlers``.

    Raises:
        LookupError: there is no handler of that name; the message lists the names.
        ImportError: its module, or a package that it needs, is not installed.
    """
    for point in _entry_points():
        if point.name == name:
            return cast("Callable[[], object]", point.load())
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return cast("Callable[[], object]", getattr(importlib.import_module(module), attribute))
    raise LookupError(f"no handler is called {name!r}; there are: {', '.join(handler_names())}")


def handler_names() -> list[str]:
    """Return the names that `load_handler` knows, sorted."""
    return sorted({*_BUILT_IN, *(point.name for point in _entry_points())})


class Recording:
    """The record of this process, begun by `record_process`.

    Args:
        handler: Writes the record.
    """

    def __init__(self, handler: RecordHandler) -> None:
        self._handler = handler

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._handler.run_id

    @property
    def path(self) -> Path:
        """The file of the record."""
        return self._handler.path

    @property
    def has_begun(self) -> bool:
        """Whether the run is in the file."""
        return self._handler.has_begun

    @property
    def lost(self) -> int:
        """Number of events that were taken but could not be recorded."""
        return self._handler.lost

    def end(self, exit_code: int) -> None:
        """Set the main program's exit code; it is written when the process ends."""
        self._handler.exit_code = exit_code


def record_process(
    path: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    payloads: bool = False,
    deep: bool = False,
    libraries: str | None = None,
) -> Recording:
    """Record this process from now on: the events of every manager, whoever makes it (see `Everywhere`).

    For a launcher such as ``spanloom run``: call it before the program's first line runs. Libraries that emit no events
    of their own are instrumented. If recording cannot begin, that is logged and the program runs on.

    Args:
        path, name, payloads: As for `RecordHandler`.
        deep: Have every manager measure the busy time of its jobs.
        libraries: Libraries to instrument, in the syntax of ``SPANLOOM_INSTRUMENT``; ``None`` for the value of that
            variable, or all if it is not set.
    """
    from spanloom.handlers.record import RecordHandler

    handler = RecordHandler(path, name=name, payloads=payloads)
    EVERYWHERE.deep = deep
    EVERYWHERE.add(handler)
    try:
        handler.begin()
    except Exception as error:  # noqa: BLE001 -- whatever it is, a record is no reason for a program not to run
        _logger.warning("the run cannot be recorded: %s: %s", type(error).__name__, error)
    if libraries is not None:
        uninstrument()  # undo what the environment asked for when spanloom was imported
    instrument_as_asked(libraries)
    return Recording(handler)


def instrument_as_asked(names: str | None = None, otherwise: str = "all") -> None:
    """Instrument libraries by name; unknown names are logged as a warning and ignored.

    Args:
        names: Names of targets, ``all`` or ``none``, separated by commas; ``None`` for the value of
            ``SPANLOOM_INSTRUMENT``.
        otherwise: Used instead if that is empty.
    """
    asked = os.environ.get("SPANLOOM_INSTRUMENT", "") if names is None else names
    words = [word.strip() for word in (asked.strip() or otherwise).split(",")]
    for word in words:
        if word and word not in TARGETS and word not in ("all", "none"):
            _logger.warning(
                "SPANLOOM_INSTRUMENT: there is no target %r; there are: all, none, %s",
                word,
                ", ".join(TARGETS),
            )
    if "all" in words:
        instrument()
    known = [word for word in words if word in TARGETS]
    if known:
        instrument(*known)


def _instrument_for_others() -> Callable[[], object]:
    """Instrument libraries as the environment says, or else all; return a function that undoes what this call added."""
    before = wanted()
    instrument_as_asked()
    new = [name for name in wanted() if name not in before]
    return lambda: uninstrument(*new) if new else None


def watch_process(
    *, stall_after: float | None = None, dump_signal: int | None = None, recording: Recording | None = None
) -> None:
    """Watch this process from now on, so that it can be asked why it is slow or stuck.

    Args:
        stall_after: As for `watch`; ``None`` for the value of ``SPANLOOM_STALL_AFTER``, or else `STALL_AFTER_S`.
        dump_signal: As for `watch`.
        recording: Its record; readers then find it by process id, even after the process has ended.
    """
    from spanloom.diagnosis.watch import watch

    if recording is not None:
        from spanloom.diagnosis.watch.notes import leave_note

        try:
            leave_note(recording.path, recording.run_id)
        except (OSError, UnicodeError) as error:
            _logger.debug("the record cannot be found by the number of this process: %s", error)
    watch(stall_after=stall_after or _usual_stall_after(), dump_signal=dump_signal)


def _watch_unless_watched(stall_after: float) -> None:
    from spanloom.diagnosis.watch import current

    if current() is None:  # else code has set it up, and code takes precedence over the environment
        watch_process(stall_after=stall_after)


def _watch_for_now(standing: Standing, stall_after: float | None) -> Callable[[], object]:
    from spanloom.diagnosis.watch.process import watch_for_now

    return watch_for_now(standing, stall_after)


def _usual_stall_after() -> float | None:
    """Return the stall time of the process; ``None`` for never."""
    said = _stall_after()
    return STALL_AFTER_S if said is None else said or None


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # 20 ms, and most programs name no handler

    return entry_points(group=GROUP)


class _TableAtClose:
    """Print the table of a `DebugHandler` at the end: one named in the environment has no code that would print it."""

    wants: frozenset[str] = frozenset()

    def __init__(self, debug: object) -> None:
        self._summary: Callable[[], dict[str, object]] = getattr(debug, "summary", dict)
        self._table: Callable[[], str] = getattr(debug, "table", str)

    def close(self) -> None:
        if sys.stderr is not None and self._summary().get("types"):
            sys.stderr.write(self._table() + "\n")
            sys.stderr.flush()


def _add(manager: CallbackManager, name: str) -> None:
    if name == "record" and any(guard.name == "RecordHandler" for guard in EVERYWHERE.guards):
        return  # one record of everything is enough
    try:
        handler = load_handler(name)()
        manager.add_handler(handler)
        if name == "debug":
            manager.add_handler(_TableAtClose(handler))
    except LookupError as error:
        _logger.warning("SPANLOOM_HANDLERS=%s: %s", os.environ.get("SPANLOOM_HANDLERS"), error)
    except Exception as error:  # noqa: BLE001 -- a handler's constructor may raise anything
        _logger.warning(
            "SPANLOOM_HANDLERS: handler %r is left out, because it cannot be made: %s: %s",
            name,
            type(error).__name__,
            error,
        )


def _recorder() -> int:
    text = os.environ.get("SPANLOOM_RECORDER", "").strip()
    if not text:
        return DEFAULT_CAPACITY
    if text.isdecimal() and len(text) <= MOST_DIGITS:
        return int(text)
    _logger.warning(
        "SPANLOOM_RECORDER=%.99s is not a number of events to keep, 0 or more; %d are kept",
        text,
        DEFAULT_CAPACITY,
    )
    return DEFAULT_CAPACITY


@cache
def _seconds(text: str) -> float | None:
    """Return the seconds that ``SPANLOOM_STALL_AFTER`` says: 0 for never, ``None`` if it says nothing valid."""
    if not text:
        return None
    if text.lower() in _FALSE:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 <= seconds < math.inf:
        return seconds
    _logger.warning(
        "SPANLOOM_STALL_AFTER=%s is not a number of seconds above 0, or 0 for never; left out", text
    )
    return None


def _stall_after() -> float | None:
    return _seconds(os.environ.get("SPANLOOM_STALL_AFTER", "").strip())


def _flag(variable: str) -> bool:
    text = os.environ.get(variable, "").strip()
    if text.lower() in _TRUE:
        return True
    if text.lower() not in _FALSE:
        _logger.warning("%s=%s is neither 1 (on) nor 0 (off); it is off", variable, text)
    return False


set_default_factory(build_default_manager)
WATCHDOG.wire(_watch_for_now, _usual_stall_after)
set_handler_loader(load_handler)
set_instrumenting(_instrument_for_others)
if "SPANLOOM_INSTRUMENT" in os.environ:
    instrument_as_asked(otherwise="none")
