"""Runs made by hand: records with the times that a test wants, in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from spanloom.events.error import ErrorInfo
from spanloom.store.model import Record, Run
from spanloom.viewer.analysis import Analysis, analyse

MS = 1_000_000
START = 1_790_000_000 * 1_000_000_000


def run(end: float = 100, **changes: Any) -> Run:
    """Return a run that lasted until `end` ms, with `changes`."""
    end_ns = START + int(end * MS)
    values: dict[str, Any] = {
        "run_id": "3f9c1a2b" + "0" * 24,
        "name": "pipeline.py",
        "argv": ("python", "pipeline.py"),
        "cwd": "/srv/app",
        "host": "web1",
        "pid": 4242,
        "python": "3.11.7",
        "version": "0.1.0",
        "started_wall_ns": START,
        "ended_wall_ns": end_ns,
        "last_seen_wall_ns": end_ns,
        "state": "ended",
        "exit_code": 0,
    }
    return Run(**values | changes)


def dead(seen: float = 100, **changes: Any) -> Run:
    """Return a run whose process died; it was last heard of after `seen` ms."""
    return run(seen, ended_wall_ns=None, state="interrupted", exit_code=None, **changes)


class Made:
    """Records made one by one; every event is in one trace."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def event(
        self,
        type: str,
        name: str,
        start: float,
        end: float | None,
        parent: int | None = None,
        *,
        error: tuple[Any, ...] | None = None,
        **more: Any,
    ) -> int:
        """Add an event from `start` to `end` ms (``None``: it never ended); return its id."""
        event_id = len(self.records) + 1
        default = "interrupted" if end is None else "error" if error else "ok"
        self.records.append(
            Record(
                event_id=event_id,
                parent_id=parent,
                trace_id=7,
                type=type,
                name=name,
                start_ns=round(start * MS),
                end_ns=None if end is None else round(end * MS),
                status=more.pop("status", default),
                error=None if error is None else ErrorInfo(*error),
                **more,
            )
        )
        return event_id

    def end(self, event_id: int, end: float) -> None:
        """Let an event end at `end` ms."""
        at = event_id - 1
        self.records[at] = msgspec.structs.replace(self.records[at], end_ns=round(end * MS))

    def job(
        self, name: str, index: int, start: float, end: float | None, parent: int | None, **more: Any
    ) -> int:
        """Add a job; `queue` is in ms."""
        queue = more.pop("queue", None)
        return self.event(
            "job",
            name,
            start,
            end,
            parent,
            job_index=index,
            batch_id=parent,
            queue_ns=None if queue is None else round(queue * MS),
            **more,
        )

    def sorted(self) -> list[Record]:
        """Return the records as a reader gives them: in order of start."""
        return sorted(self.records, key=lambda record: record.start_ns)

    def analyse(self, of: Run | None = None) -> Analysis:
        """Analyse them as the records of `of`, by default a run that ends with the last of them."""
        if of is None:
            of = run(max((record.end_ns or record.start_ns) for record in self.records) / MS)
        return analyse(of, self.sorted())


def texts(lines: Iterable[Any]) -> str:
    """Return lines of a page as one text."""
    return "\n".join(line.text for line in lines)
