"""The composition root: from the environment's words to objects. The only module that knows both halves.

Importing it loads no handler and reads no environment variable but ``SPANLOOM_INSTRUMENT``; the others are read when
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
"""Of a number of events: what has more is none that a list could have."""

_logger = logging.getLogger("spanloom")


def build_default_manager() -> CallbackManager:
    """Return a manager as the environment describes it.

    ``SPANLOOM_HANDLERS`` names its handlers, separated by commas; ``SPANLOOM_RECORDER`` is the number of ended events
    that its flight recorder keeps, 0 to switch it off; ``SPANLOOM_DEEP`` switches the measuring of busy time on;
    ``SPANLOOM_STALL_AFTER`` has the process watched, and a batch without progress for so many seconds reported, 0 for
    never; without it, such a batch is reported after 30 s by `WATCHDOG`. What cannot be understood or loaded is logged
    as a warning and left out: a typing error in the environment must not stop a program.
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
        LookupError: there is none of that name; the message lists those there are.
        ImportError: its module, or something that needs, is not installed.
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
    """The record of this process that `record_process` has begun.

    Args:
        handler: Writes it.
    """

    def __init__(self, handler: RecordHandler) -> None:
        self._handler = handler

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._handler.run_id

    @property
    def path(self) -> Path:
        """The file that it is in."""
        return self._handler.path

    @property
    def has_begun(self) -> bool:
        """Whether the run is in the file."""
        return self._handler.has_begun

    @property
    def lost(self) -> int:
        """Events that were taken and could not be recorded."""
        return self._handler.lost

    def end(self, exit_code: int) -> None:
        """Say what the main program has ended with; the end itself is written when the process ends."""
        self._handler.exit_code = exit_code


def record_process(
    path: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    payloads: bool = False,
    deep: bool = False,
    libraries: str | None = None,
) -> Recording:
    """Record this process from now on: what every manager carries, whoever makes it; see `Everywhere`.

    For whoever starts a program that knows nothing of it, before its first line runs. Libraries that have no events of
    their own are patched for it.

    Args:
        path, name, payloads: As for `RecordHandler`.
        deep: Have every manager measure the busy time of its jobs.
        libraries: Which ones, as ``SPANLOOM_INSTRUMENT`` names them; ``None`` for what that says, or else all.
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
        uninstrument()  # what the environment has asked for when spanloom was imported
    instrument_as_asked(libraries)
    return Recording(handler)


def instrument_as_asked(names: str | None = None, otherwise: str = "all") -> None:
    """Patch libraries by their names, separated by commas; what cannot be understood is logged and left out.

    Args:
        names: Names of targets, ``all`` or ``none``; ``None`` for what ``SPANLOOM_INSTRUMENT`` says.
        otherwise: The same, where that says nothing.
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
    """Patch libraries as the environment says, or else all; return what undoes as much of it as is new."""
    before = wanted()
    instrument_as_asked()
    new = [name for name in wanted() if name not in before]
    return lambda: uninstrument(*new) if new else None


def watch_process(
    *, stall_after: float | None = None, dump_signal: int | None = None, recording: Recording | None = None
) -> None:
    """Watch this process from now on, so that it can be asked why it is slow or stuck.

    Args:
        stall_after: As for `watch`; ``None`` for what ``SPANLOOM_STALL_AFTER`` says, or else what is usual.
        dump_signal: As for `watch`.
        recording: The record of it, which is found by the number of the process also when that has ended.
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

    if current() is None:  # else code was first, and goes before the environment
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
    """Prints what a `DebugHandler` has found: asked for from outside, it has nobody who would ask it."""

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
    """Return what ``SPANLOOM_STALL_AFTER`` says; 0 for never, ``None`` for nothing."""
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
