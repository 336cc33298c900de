"""Runs and what was found in them as plain data, for ``--json``.

docs/reference/json.md and docs/reference/command-line.md explain every key.

Times are integers, in nanoseconds; ids are text, in hexadecimal digits; what was not measured is ``null``.
"""

from __future__ import annotations

from typing import Final

from spanloom.events.error import Frame
from spanloom.store.model import Record, Run
from spanloom.viewer._errors import ErrorGroup
from spanloom.viewer._names import NameStats
from spanloom.viewer._tree import Kept, Place
from spanloom.viewer.analysis import Analysis
from spanloom.viewer.comparison import Change, Comparison
from spanloom.viewer.top import Now

__all__ = ["VERSION", "plain_analysis", "plain_comparison", "plain_now", "plain_run"]

VERSION: Final = 1
"""Of the shape. A key may be added at any time; one that changes its meaning or goes makes a new version."""


def plain_run(run: Run) -> dict[str, object]:
    """Return what is known of the run itself."""
    return {
        "run_id": run.run_id,
        "name": run.name,
        "argv": list(run.argv),
        "cwd": run.cwd,
        "host": run.host,
        "pid": run.pid,
        "python": run.python,
        "version": run.version,
        "started_wall_ns": run.started_wall_ns,
        "ended_wall_ns": run.ended_wall_ns,
        "last_seen_wall_ns": run.last_seen_wall_ns,
        "state": str(run.state),
        "exit_code": run.exit_code,
        "produced": run.produced,
        "dropped": run.dropped,
        "thinned": run.thinned,
        "deep": run.deep,
    }


def plain_analysis(analysis: Analysis) -> dict[str, object]:
    """Return everything that was found in a run."""
    path, curve = analysis.path, analysis.concurrency
    return {
        "v": VERSION,
        "run": plain_run(analysis.run),
        "events": analysis.events,
        "duration_ns": analysis.duration_ns,
        "covered_ns": analysis.covered_ns,
        "unplaced": analysis.unplaced,
        "unwritten": analysis.unwritten,
        "open_events": analysis.open_events,
        "open": [
            {
                "type": group.type,
                "name": group.name,
                "count": group.count,
                "oldest": [
                    _event(event.record)
                    | {"age_ns": event.age_ns, "inside": [_event(inner) for inner in event.inside]}
                    for event in group.oldest
                ],
            }
            for group in analysis.open
        ],
        "concurrency": None
        if curve is None
        else {
            "start_ns": curve.start_ns,
            "bucket_ns": curve.bucket_ns,
            "means": [round(mean, 6) for mean in curve.means],
            "peak": curve.peak,
            "peak_ns": curve.peak_ns,
        },
        "tree": [_place(place) for place in analysis.tree],
        "names": [_stats(stats) for stats in sorted(analysis.names, key=lambda each: -each.self_ns)],
        "errors": [_error(group) for group in analysis.errors],
        "slowest": [_kept(kept) for kept in analysis.slowest],
        "critical_path": {
            "steps": path.steps,
            "outside_ns": path.gaps_ns + analysis.duration_ns - path.end_ns,
            "names": [
                {"type": stats.type, "name": stats.name, "ns": ns}
                for stats, ns in sorted(path.spent_ns.items(), key=lambda item: -item[1])
            ],
            "longest": [_event(step.record) | {"self_ns": step.self_ns} for step in path.longest],
        },
    }


def plain_comparison(comparison: Comparison) -> dict[str, object]:
    """Return everything that was found in two runs."""
    return {
        "v": VERSION,
        "a": plain_run(comparison.a.run),
        "b": plain_run(comparison.b.run),
        "duration_ns": comparison.duration_ns,
        "spent_ns": comparison.spent_ns,
        "outside_ns": comparison.outside_ns,
        "at_once": comparison.at_once,
        "work_ns": round(comparison.work_ns),
        "overlap_ns": round(comparison.overlap_ns),
        "noise_ns": round(comparison.noise_ns),
        "shared_ns": comparison.shared_ns,
        "differs": comparison.differs,
        "outside_share": comparison.outside_share,
        "straggler": None
        if comparison.straggler is None
        else _event(comparison.straggler.record) | {"self_ns": comparison.straggler.self_ns},
        "names": [
            {
                "name": name.name,
                "share": name.share,
                "delta_ns": name.delta_ns,
                "noise_ns": round(name.noise_ns),
                "parts": [_change(part) for part in name.parts],
            }
            for name in comparison.names
        ],
        "waits": [_change(wait) for wait in comparison.waits],
        "errors": [
            {"type": error.type, "shape": error.shape, "count": error.count} for error in comparison.errors
        ],
    }


def plain_now(now: Now) -> dict[str, object]:
    """Return what a run is at."""
    return {
        "v": VERSION,
        "run": plain_run(now.run),
        "now_ns": now.now_ns,
        "summary": now.summary,
        "per_second": now.per_second,
        "batches": [batch._asdict() for batch in now.batches],
        "in_flight": [flight._asdict() | {"event_id": f"{flight.event_id:016x}"} for flight in now.in_flight],
    }


def _event(record: Record) -> dict[str, object]:
    return {
        "event_id": f"{record.event_id:016x}",
        "type": record.type,
        "name": record.name,
        "job_index": record.job_index,
        "attempt": record.attempt,
        "start_ns": record.start_ns,
        "status": record.status,
    }


def _kept(kept: Kept) -> dict[str, object]:
    record = kept.record
    return _event(record) | {
        "duration_ns": kept.span_ns,
        "self_ns": kept.self_ns,
        "queue_ns": record.queue_ns,
        "busy_ns": record.busy_ns,
        "backoff_ns": kept.backoff_ns,
        "error": None
        if record.error is None
        else {"type": record.error.type, "message": record.error.message},
    }


def _place(place: Place) -> dict[str, object]:
    return {
        "type": place.type,
        "name": place.name,
        "first_ns": place.first_ns,
        "count": place.count,
        "failed": place.failed,
        "cancelled": place.cancelled,
        "skipped": place.skipped,
        "open": place.open,
        "total_ns": place.span_ns,
        "self_ns": place.self_ns,
        "slowest": [_kept(kept) for kept in place.slowest.kept()],
        "failures": [_kept(kept) for kept in place.failures],
        "below": [_place(below) for below in place.below.values()],
    }


def _stats(stats: NameStats) -> dict[str, object]:
    durations = stats.durations
    p50, p95, p99 = durations.quantiles(0.5, 0.95, 0.99)
    return {
        "type": stats.type,
        "name": stats.name,
        "count": stats.count,
        "ok": stats.ok,
        "errors": stats.errors,
        "timeouts": stats.timeouts,
        "cancelled": stats.cancelled,
        "skipped": stats.skipped,
        "open": stats.open,
        "attempts": stats.attempts or None,
        "queue_ns": stats.queue_ns,
        "run_ns": durations.total,
        "total_ns": stats.span_ns,
        "self_ns": stats.self_ns,
        "busy_ns": stats.busy_ns,
        "backoff_ns": stats.backoff_ns,
        "min_ns": durations.minimum,
        "p50_ns": p50,
        "p95_ns": p95,
        "p99_ns": p99,
        "max_ns": durations.maximum,
    }


def _frame(frame: Frame | None) -> dict[str, object] | None:
    return (
        None if frame is None else {"file": frame.filename, "line": frame.lineno, "function": frame.function}
    )


def _error(group: ErrorGroup) -> dict[str, object]:
    return {
        "type": group.type,
        "shape": group.shape,
        "example": group.example,
        "frame": _frame(group.frame),
        "own_frame": _frame(group.own_frame),
        "count": group.count,
        "jobs": group.jobs,
        "in": [{"type": type, "name": name, "count": count} for (type, name), count in group.names.items()],
        "first_ns": group.first_ns,
        "last_ns": group.last_ns,
    }


def _change(change: Change) -> dict[str, object]:
    return {
        "type": change.type,
        "name": change.name,
        "count": change.count,
        "failed": change.failed,
        "self_ns": change.self_ns,
        "delta_ns": change.delta_ns,
        "more_ns": round(change.more_ns),
        "slower_ns": round(change.slower_ns),
        "real_ns": round(change.real_ns),
        "noise_ns": None if change.noise_ns is None else round(change.noise_ns),
        "speed": change.speed,
        "failing": change.failing,
        "is_noise": change.is_noise,
    }
