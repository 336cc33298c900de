"""The reader: runs and their events, from a file that may be written to meanwhile, or may hold anything."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import NoneType, TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from spanloom.events.error import ErrorInfo, Frame
from spanloom.events.types import EventStatus, EventType
from spanloom.exceptions import RunNotFoundError, StoreCorruptError
from spanloom.store.job_records import JobRecords
from spanloom.store.locate import LAST, default_path
from spanloom.store.model import Counts, Record, Run, RunState, Summary
from spanloom.store.open_records import OpenRecords
from spanloom.store.opening import Opened
from spanloom.store.process import is_alive
from spanloom.store.recent import ended_since
from spanloom.store.wanted import Wanted

__all__ = ["StoreReader"]

CHUNK: Final = 2_000
"""Events read by one statement: bounded, so that a slow reader never keeps a writer from tidying up."""
CHUNK_BYTES: Final = 16_000_000
"""Bytes of their payloads, about: far more than any that we write, far less than a file can hold."""
MAX_REMEMBERED: Final = 10_000
"""Texts of one kind cached while events are read."""
ELSEWHERE_S: Final = 10.0
"""Seconds since a run of another machine was last seen, up to which it counts as running."""
MAX_LISTED: Final = 10
"""Runs that an error message lists."""

_ALL: Final = 1 << 64
_INT: Final[frozenset[type]] = frozenset({int})
_INT_OR_NONE: Final[frozenset[type]] = frozenset({int, NoneType})
_TEXT_OR_NONE: Final[frozenset[type]] = frozenset({str, NoneType})

_RUNS: Final = """
SELECT id, run_id, name, argv, cwd, host, pid, machine, process, python, version, started_wall_ns, seen_wall_ns,
       ended_wall_ns, exit_code, deep, produced, dropped, {thinned}
FROM run WHERE NOT expired ORDER BY started_wall_ns DESC, id DESC LIMIT ?"""
_THINNED: Final = "(SELECT coalesce(sum(events), 0) FROM thinned WHERE thinned.run = run.id)"
THINNED_SINCE_VERSION: Final = 4
_EVENTS: Final = """
SELECT start_ns, event_id, label, trace, parent_id, batch_id, job_index, end_ns, status, queue_ns, busy_ns, attempt,
       is_point, error, payload
FROM event
WHERE run = ? AND (start_ns, event_id) > (?, ?) {where}
ORDER BY start_ns, event_id LIMIT ?"""
_COUNTS: Final = """
SELECT total, started, in_flight, failed, cancelled, backing_off, retried, skipped FROM batch
WHERE run = ? AND batch_id = ?"""
_COLUMNS: Final[tuple[frozenset[type], ...]] = (
    *(_INT,) * 4,
    *(_INT_OR_NONE,) * 4,
    _TEXT_OR_NONE,
    *(_INT_OR_NONE,) * 3,
    _INT,
    _INT_OR_NONE,
    _TEXT_OR_NONE,
)
_RUN_ID: Final = re.compile("[0-9a-f]{32}")
"""Checked because a file may hold anything, and an id is displayed and passed to commands."""
T = TypeVar("T")
_FIRST: Final = (-(1 << 63), -(1 << 63))

_argv: Final = msgspec.json.Decoder(tuple[str, ...])
_frames: Final = msgspec.json.Decoder(tuple[Frame, ...])
_payload: Final = msgspec.json.Decoder(dict[str, Any])  # Any: whatever JSON can hold


class StoreReader:
    """Read a record; never creates or changes the file, and never holds up a writer.

    Args:
        path: The file; ``None`` means ``SPANLOOM_RECORD``, or else ``.spanloom/runs.db``.

    Raises:
        StoreNotFoundError: there is no such file.
        StoreVersionError: a newer version of spanloom wrote it.
        StoreCorruptError: it is not a record, or it is damaged. All methods may raise that.
        StoreError: it may not be read.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path: Path = default_path() if path is None else Path(path)
        self._opened = Opened(self.path)
        self._numbers: dict[str, int] = {}

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # runs -----------------------------------------------------------------------------------------------

    def runs(self, limit: int | None = None) -> list[Run]:
        """Return the runs, the newest first; at most `limit`, or all."""
        if not self._opened.version:
            self._opened.look_again()
        if not self._opened.version:
            return []
        with self._reading():
            thinned = _THINNED if self._opened.version >= THINNED_SINCE_VERSION else "0"
            rows = self._opened.fetch(_RUNS.format(thinned=thinned), (-1 if limit is None else limit,))
            return [self._run(*row) for row in rows]

    def find(self, ref: str) -> Run:
        """Return the run whose id begins with `ref`, or the newest one for ``last``.

        Raises:
            RunNotFoundError: there is none, or more than one.
        """
        runs = self.runs()
        if ref == LAST and runs:
            return runs[0]
        found = [run for run in runs if ref and run.run_id.startswith(ref.lower())]
        if len(found) == 1:
            return found[0]
        if not runs:
            raise RunNotFoundError(f"{self.path} has no runs")
        listed = found or runs
        what = f"{len(found)} runs of {self.path} begin" if found else f"no run of {self.path} begins"
        names = ", ".join(f"{run.run_id[:8]} ({run.name})" for run in listed[:MAX_LISTED])
        more = f" and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
        raise RunNotFoundError(f"{what} with {ref!r}; there are {names}{more}")

    def summary(self, run: Run) -> Summary:
        """Return the numbers of `run` as its writer counted them, without reading its events."""
        with self._reading():
            rows = self._opened.fetch(
                "SELECT events, jobs, failed, cancelled, open FROM run WHERE run_id = ? AND NOT expired",
                (run.run_id,),
            )
            if not rows:
                raise RunNotFoundError(f"run {run.run_id} is not in {self.path} any more")
            return Summary(*_checked(rows, (_INT,) * 5)[0])

    def faults(self) -> list[str]:
        """Return up to five faults that SQLite finds in the file; empty if it is sound. Reads the whole file."""
        with self._reading():
            found = [str(row[0]) for row in self._opened.fetch("PRAGMA integrity_check(5)")]
        return [] if found == ["ok"] else found

    def jobs_ended_since(self, run: Run, since_ns: int) -> dict[int | None, int]:
        """Return how many jobs ended at `since_ns` of the run or later, by the id of their batch.

        Jobs ``skipped`` because a checkpoint had their result are left out: they say nothing about the speed.
        """
        with self._reading():
            found = ended_since(self._opened, self._number(run), since_ns)
            rows = _checked(found, (_INT_OR_NONE, _INT))
        count: Counter[int | None] = Counter()
        for batch_id, jobs in rows:
            count[batch_id and batch_id % _ALL] += jobs
        return count

    def _run(
        self,
        number: Any,  # Any: SQLite keeps anything in any column, see _require
        run_id: Any,
        name: Any,
        argv: Any,
        cwd: Any,
        host: Any,
        pid: Any,
        machine: Any,
        process: Any,
        python: Any,
        version: Any,
        started: Any,
        seen: Any,
        ended: Any,
        exit_code: Any,
        deep: Any,
        produced: Any,
        dropped: Any,
        thinned: Any,
    ) -> Run:
        _require(str, run_id, name, argv, cwd, host, machine, process, python, version)
        _require(int, number, pid, started, seen, deep, produced, dropped, thinned)
        _require((int, NoneType), ended, exit_code)
        if not _RUN_ID.fullmatch(run_id):
            raise _WrongTypeError("a run has an id that is none")
        if min(started, seen, ended or 0) < 0:
            raise _WrongTypeError("a run is older than the epoch")
        self._numbers[run_id] = number
        if ended is not None:
            state = RunState.ENDED
        else:
            alive = is_alive(pid, machine, process)
            if alive is None:
                alive = time.time_ns() - seen < ELSEWHERE_S * 1e9
            state = RunState.RUNNING if alive else RunState.INTERRUPTED
        return Run(
            run_id=run_id,
            name=name,
            argv=_argv.decode(argv),
            cwd=cwd,
            host=host,
            pid=pid,
            python=python,
            version=version,
            started_wall_ns=started,
            ended_wall_ns=ended,
            last_seen_wall_ns=seen,
            state=state.value,
            exit_code=exit_code,
            produced=produced,
            dropped=dropped,
            deep=bool(deep),
            thinned=thinned,
        )

    # events ---------------------------------------------------------------------------------------------

    def records(
        self, run: Run, *, types: Iterable[str] | None = None, is_open: bool | None = None
    ) -> Iterator[Record]:
        """Yield the events of `run` in order of start, read in chunks as they are taken.

        If the run is still being written, what is in the file when its chunk is read is included.

        Args:
            run: From `runs` or `find`.
            types: Event types to yield; ``None`` for all.
            is_open: True for events without an end only, False for those with one, ``None`` for both.
        """
        number = self._number(run)
        wanted, where = None if types is None else list(types), ""
        if wanted is not None:
            marks = ", ".join("?" * len(wanted))
            of_types = f"SELECT id FROM label WHERE run = event.run AND type IN ({marks})"  # noqa: S608 -- marks only
            where += f" AND label IN ({of_types})"
        if is_open is not None:
            where += f" AND end_ns IS {'' if is_open else 'NOT'} NULL"
        statement = _EVENTS.format(where=where)
        jobs = JobRecords(self._opened, number, chosen := Wanted(self._opened, number, wanted))
        only = is_open is True
        listed = None if is_open is False else OpenRecords(self._opened, number, chosen, jobs, only=only)
        texts = _Texts(self._opened, number)
        never = None if run.state == RunState.RUNNING else EventStatus.INTERRUPTED.value
        after: tuple[int, int] | None = _FIRST
        while after is not None:
            with self._reading():
                if listed is not None:
                    listed.refresh()
                asked = (number, *after, *(wanted or ()), CHUNK)
                rows = self._opened.fetch(statement, asked, max_bytes=CHUNK_BYTES)
                _checked(rows, _COLUMNS)
                if not only:
                    rows = jobs.merge(rows, after, CHUNK)
                last = rows[-1][:2] if rows else None
                if listed is not None:
                    rows, last = listed.merge(rows, after, CHUNK)
                found = [texts.record(row, never) for row in rows]
            yield from found
            after = last

    def _number(self, run: Run) -> int:
        number = self._numbers.get(run.run_id)
        if number is None:
            with self._reading():
                rows = self._opened.fetch("SELECT id FROM run WHERE run_id = ?", (run.run_id,))
            if not rows:
                raise RunNotFoundError(f"run {run.run_id} is not in {self.path}")
            number = self._numbers[run.run_id] = int(rows[0][0])
        return number

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (msgspec.MsgspecError, _WrongTypeError, ValueError, RecursionError) as error:
            raise StoreCorruptError(f"{self.path} is damaged: {error}") from error


class _Texts:
    """Labels, traces, errors and batches that the events of one run refer to by number; cached."""

    def __init__(self, opened: Opened, run: int) -> None:
        self._opened = opened
        self._run = run
        self._label_of: dict[int, tuple[str, str]] = {}
        self._trace_of: dict[int, int] = {}
        self._error_of: dict[int, ErrorInfo] = {}
        self._frames_of: dict[int, tuple[Frame, ...]] = {}

    def _find(self, statement: str, number: int) -> tuple[Any, ...]:
        rows = self._opened.fetch(statement, (self._run, number))
        if not rows:
            raise _WrongTypeError(f"what an event refers to is missing (number {number})")
        return rows[0]

    def record(self, row: tuple[Any, ...], never: str | None) -> Record:
        (
            start_ns,
            event_id,
            label,
            trace,
            parent_id,
            batch_id,
            job_index,
            end_ns,
            status,
            queue_ns,
            busy_ns,
            attempt,
            is_point,
            error,
            payload,
        ) = row
        type_, name = self._label_of.get(label) or self._label(label)
        return Record(
            event_id if event_id >= 0 else event_id + _ALL,
            parent_id if parent_id is None or parent_id >= 0 else parent_id + _ALL,
            self._trace_of.get(trace) or self._trace(trace),
            type_,
            name,
            start_ns,
            end_ns,
            never if end_ns is None else status,
            None if error is None else self._error_of.get(error) or self._error(error),
            queue_ns,
            busy_ns,
            attempt,
            job_index,
            batch_id if batch_id is None or batch_id >= 0 else batch_id + _ALL,
            self._batch(event_id) if type_ == EventType.BATCH else None,
            None if payload is None else _payload.decode(payload),
            bool(is_point),
        )

    def _label(self, number: int) -> tuple[str, str]:
        type_, name = self._find("SELECT type, name FROM label WHERE run = ? AND id = ?", number)
        _require(str, type_, name)
        return _remember(self._label_of, number, (type_, name))

    def _trace(self, number: int) -> int:
        (trace_id,) = self._find("SELECT trace_id FROM trace WHERE run = ? AND id = ?", number)
        _require(str, trace_id)
        return _remember(self._trace_of, number, int(trace_id, 16))

    def _error(self, number: int) -> ErrorInfo:
        type_, message, stack = self._find(
            "SELECT type, message, stack FROM error WHERE run = ? AND id = ?", number
        )
        _require(str, type_, message)
        _require(int, stack)
        frames = self._frames_of.get(stack)
        if frames is None:
            (text,) = self._find("SELECT frames FROM stack WHERE run = ? AND id = ?", stack)
            _require(str, text)
            frames = _remember(self._frames_of, stack, _frames.decode(text))
        return _remember(self._error_of, number, ErrorInfo(type_, message, frames))

    def _batch(self, batch_id: int) -> Counts:
        total, *others = self._find(_COUNTS, batch_id)
        _require((int, NoneType), total)
        _require(int, *others)
        return Counts(total, *others)


class _WrongTypeError(Exception):
    """A value in the file does not have the type of its column."""


def _remember(known: dict[int, T], number: int, value: T) -> T:
    if len(known) >= MAX_REMEMBERED:
        known.clear()
    known[number] = value
    return value


def _require(kind: type | tuple[type, ...], *values: object) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise _WrongTypeError(f"found {type(value).__name__} where there should be something else")


def _checked(rows: list[tuple[Any, ...]], columns: tuple[frozenset[type], ...]) -> list[tuple[Any, ...]]:
    """Return `rows` if their values have the types of the columns, which SQLite does not enforce."""
    for allowed, values in zip(columns, zip(*rows, strict=True), strict=False):
        if not allowed.issuperset(map(type, values)):
            raise _WrongTypeError("there is a value of a wrong type among the events")
    return rows
