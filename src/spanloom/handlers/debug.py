"""`DebugHandler`: where the time went, in numbers, as a table and as the tree of each trace.

Jobs are counted in lists, on the handler's own thread, never on an event loop; no hook runs when a
job starts or ends.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, TextIO

from spanloom._numbers import check_count
from spanloom.events.event import Event
from spanloom.events.handler import Handler
from spanloom.events.types import EventType
from spanloom.handlers._debug_ledger import EndedTrace, Ledger
from spanloom.handlers._debug_table import html_table, text_table
from spanloom.handlers._debug_tally import Tally
from spanloom.handlers._debug_text import tree_lines
from spanloom.redaction import redact_text

__all__ = ["DebugHandler"]

MAX_OPEN_BATCHES: Final = 1_000
"""From this number on, batches taken for open are checked for an end."""
_TYPES_SEEN_OPEN: Final = frozenset({EventType.BATCH.value, EventType.JOB.value})


class DebugHandler(Handler):
    """Count and time events, and build the trees of their traces, in bounded memory.

    Events arrive up to 100 ms late: call ``manager.flush()`` before reading. Every method may be called from any
    thread, the event loop's included.

    Args:
        print_trace_on_end: Write the tree of each trace when its root has ended.
        stream: Where to write it; ``None`` means ``sys.stderr`` as it is at that moment.
        logger: Log it at level INFO to this logger instead; not together with `stream`.
        keep_pairs: Ended events to keep for `event_pairs`; 0 keeps none.
        max_tree: Events of one trace to keep and show one by one; those beyond it are counted.
        max_names: Types to tell apart, and names of each; those beyond are counted as ``(other)``.

    Raises:
        ValueError: a number is too small, or both `stream` and `logger` are given.
    """

    # Starts are wanted of batches only: a job's start must cost nothing.
    wants_inline: frozenset[str] | None = frozenset({EventType.BATCH})

    def __init__(
        self,
        print_trace_on_end: bool = False,
        *,
        stream: TextIO | None = None,
        logger: logging.Logger | None = None,
        keep_pairs: int = 0,
        max_tree: int = 1000,
        max_names: int = 250,
    ) -> None:
        if stream is not None and logger is not None:
            raise ValueError("give either stream= or logger=: a trace is written to one place")
        check_count(keep_pairs, "keep_pairs", least=0)
        check_count(max_tree, "max_tree")
        check_count(max_names, "max_names")
        self._print = print_trace_on_end
        self._stream = stream
        self._logger = logger
        self._keep_pairs = keep_pairs
        self._max_tree = max_tree
        self._max_names = max_names
        self._begin()
        _handlers.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._open_batches: dict[int, Event] = {}
        self._forget()

    def _forget(self) -> None:
        self._ledger = Ledger(self._open_batches, max_names=self._max_names, max_tree=self._max_tree)
        self._pairs: deque[Event] = deque(maxlen=self._keep_pairs)
        self._pairs_seen = 0

    # hooks ------------------------------------------------------------------------------------------

    def on_event_start(self, event: Event) -> None:
        """Remember a batch while it runs: its live counts tell how many jobs are in flight."""
        open_batches = self._open_batches
        if len(open_batches) >= MAX_OPEN_BATCHES:  # ends may have been dropped on their way here
            for batch in list(open_batches.values()):
                if batch.end_ns is not None:
                    open_batches.pop(batch.event_id, None)
        open_batches[event.event_id] = event

    def on_events(self, events: Sequence[Event]) -> None:
        """Count ended events; write the trees of the traces that have ended."""
        with self._lock:
            if self._keep_pairs:
                self._pairs.extend(events)
                self._pairs_seen += len(events)
            ended = self._ledger.take(events)
            written = [_tree_text(trace) for trace in ended] if self._print else []
        for text in written:
            self._write(text)

    # reading ----------------------------------------------------------------------------------------

    def summary(self, in_flight: Iterable[Event] | None = None) -> dict[str, Any]:
        """Return all statistics as plain dicts, lists, strings and numbers, fit for JSON.

        Args:
            in_flight: What ``manager.in_flight()`` returns, to count the open events of all types;
                without it, only open batches and jobs are known.

        Returns:
            ``types`` maps each type to its statistics and, under ``names``, each name to its own::

                count         events that have ended = ok + errors + timeouts + cancelled + skipped
                in_flight     events that are open now; None if not known
                total_ns      sum of the durations, from start to end
                mean_ns min_ns max_ns      exact; None if there are none
                p50_ns p95_ns p99_ns       percentiles, nearest rank, within 0.5 %
                queue_ns      sum of the waits for a slot; None if there are none
                run_ns        the same as total_ns, under the name that goes with queue and busy
                busy_ns       sum of the times in which they held the event loop; None without deep timing
                backoff_ns    sum of the pauses between attempts, at any depth below them
                attempts      jobs: sum of their attempts; None for other types

            ``traces``: ``open`` and ``ended`` traces; ``left_out`` is how many events are in no tree.
            ``event_pairs``: how many are ``kept`` and how many were ``let_go``.
        """
        open_now = self._open_now(in_flight)
        with self._lock:
            ledger = self._ledger
            tallies = ledger.totals()
            traces = {
                "open": ledger.traces_open,
                "ended": ledger.traces_ended,
                "left_out": ledger.left_out,
            }
            pairs = {"kept": len(self._pairs), "let_go": self._pairs_seen - len(self._pairs)}
        opened: Counter[tuple[str, str]] = Counter()
        for (type, name), number in open_now.items():
            tallies.of(type, name)
            opened[tallies.key(type, name)] += number
        types: dict[str, object] = {}
        for type, names in tallies.types.items():
            label = redact_text(type)
            if label in types:  # two types that differ only in a redacted secret
                label = f"{label} #{len(types)}"
            known = opened if in_flight is not None or type in _TYPES_SEEN_OPEN else None
            types[label] = _of_type(type, names, known)
        return {
            "types": types,
            "traces": traces,
            "event_pairs": pairs,
        }

    def table(self, in_flight: Iterable[Event] | None = None) -> str:
        """Return the statistics as an aligned text table, one line per type and name.

        Args:
            in_flight: As for `summary`.
        """
        return text_table(self.summary(in_flight))

    def slowest(self, type: str = "job", name: str | None = None) -> str:
        """Return the tree of the slowest job or trace that has ended, as text.

        Args:
            type: ``"job"`` or ``"trace"``; a trace is everything under one root, whatever its type.
            name: Only consider this name; ``None`` for all. The slowest are kept for the first 100 names.

        Returns:
            The job or root with the events inside it; an empty string if there is none.

        Raises:
            ValueError: `type` is neither of the two.
        """
        if type not in ("job", "trace"):
            raise ValueError(f"slowest() knows 'job' and 'trace' (got {type!r})")
        with self._lock:
            running = (
                [node for group in self._ledger.running() for node in group.slowest] if type == "job" else []
            )
            node = self._ledger.slowest[type].first(name, running)
            return "" if node is None else "\n".join(tree_lines(node))

    def event_pairs(self, type: str | None = None) -> list[Event]:
        """Return the last `keep_pairs` events, each with its start and end, in order of their end.

        Args:
            type: Only those of this type. `keep_pairs` bounds all types together.
        """
        with self._lock:
            return [event for event in self._pairs if type is None or event.type == type]

    def reset(self) -> None:
        """Forget everything but the batches that are open now."""
        with self._lock:
            self._forget()

    def _repr_html_(self) -> str:
        return html_table(self.summary())

    def _open_now(self, in_flight: Iterable[Event] | None) -> Counter[tuple[str, str]]:
        if in_flight is not None:
            return Counter((event.type, event.name) for event in in_flight)
        batches = [batch for batch in list(self._open_batches.values()) if batch.end_ns is None]
        job_names = {
            family.batch_id: family.name
            for trace in {batch.trace for batch in batches}
            for family in trace.families
        }
        counter: Counter[tuple[str, str]] = Counter()
        for batch in batches:
            counter[batch.type, batch.name] += 1
            # A batch has no family if no handler listens to its jobs; they are not counted then.
            if batch.counts is not None and batch.event_id in job_names:
                counter[EventType.JOB, job_names[batch.event_id]] += batch.counts.in_flight
        return counter

    # writing ----------------------------------------------------------------------------------------

    def _write(self, text: str) -> None:
        if self._logger is not None:
            self._logger.info("%s", text)
            return
        stream = self._stream or sys.stderr
        if stream is None:  # as under pythonw
            return
        try:
            stream.write(text + "\n")
        except UnicodeEncodeError as error:
            stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding) + "\n")
        stream.flush()


def _tree_text(ended: EndedTrace) -> str:
    lines = list(tree_lines(ended.root))
    lines[0] += f"  trace {ended.trace.trace_id:032x}"
    if ended.left_out:
        lines.append(
            f"  {ended.left_out:,} events are not shown: what they happened in had ended before them"
        )
    return "\n".join(lines)


def _of_type(
    type: str, names: dict[str, Tally], open_now: Counter[tuple[str, str]] | None
) -> dict[str, object]:
    total = Tally()
    for tally in names.values():
        total.merge(tally)
    open_of_type = (
        None if open_now is None else sum(count for key, count in open_now.items() if key[0] == type)
    )
    return {
        **total.summary(in_flight=open_of_type),
        "names": {
            label: tally.summary(in_flight=None if open_now is None else number)
            for label, (tally, number) in _told(type, names, open_now or Counter()).items()
        },
    }


def _told(
    type: str, names: dict[str, Tally], open_now: Counter[tuple[str, str]]
) -> dict[str, tuple[Tally, int]]:
    """Return tally and open events by redacted name; names that become equal are merged."""
    told: dict[str, tuple[Tally, int]] = {}
    for name, tally in names.items():
        label, number = redact_text(name), open_now[type, name]
        if label in told:
            both = Tally()
            both.merge(told[label][0])
            both.merge(tally)
            tally, number = both, number + told[label][1]
        told[label] = tally, number
    return told


_handlers: weakref.WeakSet[DebugHandler] = weakref.WeakSet()


def _after_fork() -> None:
    # The parent's thread may have held a lock or been counting, and what the parent has counted is the parent's.
    for handler in list(_handlers):
        handler._begin()  # noqa: SLF001 -- of this module


os.register_at_fork(after_in_child=_after_fork)
