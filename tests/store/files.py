"""Records for the tests of this folder: made by the handler itself, or in bulk by its statements."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from spanloom import CallbackManager
from spanloom.handlers.record import RecordHandler
from spanloom.store import Record, Run, StoreReader
from spanloom.store.connection import connect


def record(path: Path, *names: str, **options: object) -> str:
    """Record one run with a step of each name; return its id."""
    handler = RecordHandler(path, **options)  # type: ignore[arg-type]  # what the tests give is checked by them
    with CallbackManager([handler]) as manager:
        for name in names:
            with manager.event(name=name):
                pass
    return handler.run_id


def read(path: Path, ref: str = "last", **chosen: object) -> tuple[Run, list[Record]]:
    with StoreReader(path) as store:
        run = store.find(ref)
        return run, list(store.records(run, **chosen))  # type: ignore[arg-type]  # as above


def change(path: Path, *statements: str) -> None:
    """Do to a record what spanloom never would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def make_runs(path: Path, ages_s: Iterable[float], jobs: int = 10, **columns: object) -> list[str]:
    """Write ended runs of that many jobs, each last heard of so many seconds ago; return their ids."""
    ids = []
    with closing(connect(path, 5.0)) as connection:
        for age_s in ages_s:
            ids.append(f"{len(ids):08x}{0:024x}")
            wall_ns = time.time_ns() - int(age_s * 1e9)
            row = {
                "run_id": ids[-1],
                "name": "made",
                "argv": "[]",
                "cwd": "/",
                "host": "here",
                "pid": 1,
                "machine": "elsewhere",
                "process": "1",
                "python": "3",
                "version": "1",
                "started_wall_ns": wall_ns,
                "seen_wall_ns": wall_ns,
                "ended_wall_ns": wall_ns,
                "deep": 0,
                "payloads": 0,
                **columns,
            }
            connection.execute("BEGIN")
            number = connection.execute(
                f"INSERT INTO run ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                tuple(row.values()),
            ).lastrowid
            connection.execute("INSERT INTO label VALUES (?, 1, 'job', 'work')", (number,))
            connection.execute("INSERT INTO trace VALUES (?, 1, ?, 7)", (number, f"{1:032x}"))
            connection.executemany(
                f"INSERT INTO event (run, start_ns, event_id, label, trace, parent_id, batch_id, job_index, end_ns, "
                f"status) VALUES ({number}, ?, ?, 1, 1, 7, 7, ?, ?, 'ok')",
                ((1_000 * index, index - jobs // 2, index, 1_000 * index + 500) for index in range(jobs)),
            )
            connection.execute("COMMIT")
    return ids
