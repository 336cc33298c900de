"""A recorded run as data: one JSON document, or a table in CSV. Written as it is read, in the memory of one event."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from spanloom.store.model import Record, Run
from spanloom.viewer._json import encode_json

__all__ = ["CSV_COLUMNS", "JSON_VERSION", "write_csv", "write_json"]

JSON_VERSION: Final = 1
"""Version of the form that `write_json` writes. Versions only ever add fields."""

CSV_COLUMNS: Final = (
    "run_id",
    "event_id",
    "parent_id",
    "trace_id",
    "type",
    "name",
    "status",
    "start",
    "start_ns",
    "end_ns",
    "duration_ns",
    "queue_ns",
    "busy_ns",
    "attempt",
    "batch_id",
    "job_index",
    "is_point",
    "error_type",
    "error_message",
    "payload",
)
"""The columns of `write_csv`, in their order. New ones come after these."""

_FORMULA: Final = frozenset("=+-@\t\r\n＝＋－＠")
"""What a text begins with that a spreadsheet takes for a formula (OWASP, "CSV Injection"; full-width forms count)."""
_STEERING: Final = re.compile(
    "\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""What moves the cursor of a terminal or turns the direction of text around; a tab and a line break do neither."""
_BLOCK: Final = 64 << 10


def write_json(run: Run, records: Iterable[Record], write: Callable[[bytes], object]) -> None:
    """Write all of a run as one JSON document, an event a line.

    The form::

        {"format": "spanloom.run", "version": 1, "run": {...}, "records": [{...}, ...]}

    ``run`` has the fields of `Run`; each record those of `Record` that are not ``None``, its ids as hexadecimal digits
    (16, of a trace 32), its times as nanoseconds since ``started_wall_ns``. Characters that would steer a terminal are
    escaped.

    Args:
        run: Whose records they are.
        records: In the order of their starts; read once, as the document is written.
        write: Takes the next piece of the document.
    """
    head = b'{"format":"spanloom.run","version":' + str(JSON_VERSION).encode()
    pieces = [head + b',"run":' + encode_json(run) + b',"records":[\n']
    size, separator = 0, b""
    for record in records:
        encoded = encode_json(_fields(record))
        pieces.append(separator + encoded)
        separator = b",\n"
        size += len(encoded)
        if size > _BLOCK:
            write(b"".join(pieces))
            pieces, size = [], 0
    write(b"".join((*pieces, b"\n]}\n")))


def write_csv(run: Run, records: Iterable[Record], write: Callable[[bytes], object]) -> None:
    """Write a run as CSV (RFC 4180, UTF-8), an event a row, below a row of `CSV_COLUMNS`.

    What is ``None`` is an empty field, ``start`` a date with nanoseconds, ``payload`` a JSON object. A text that a
    spreadsheet would take for a formula is written with an apostrophe before it, which keeps the spreadsheet from
    computing it; whoever reads the file with a program may take that away again. What would steer a terminal is
    escaped, as Python writes it in a string; in ``payload`` as JSON does.

    Args:
        run: Whose records they are.
        records: In the order of their starts; read once, as the table is written.
        write: Takes the next piece of the file.
    """
    block = io.StringIO(newline="")
    table = csv.writer(block, lineterminator="\r\n")
    table.writerow(CSV_COLUMNS)
    for record in records:
        table.writerow(_row(run, record))
        if block.tell() > _BLOCK:
            write(block.getvalue().encode())
            block.seek(0)
            block.truncate()
    write(block.getvalue().encode())


def _fields(record: Record) -> dict[str, object]:
    fields: dict[str, object] = {
        "event_id": f"{record.event_id:016x}",
        "parent_id": _hex(record.parent_id),
        "trace_id": f"{record.trace_id:032x}",
        "type": record.type,
        "name": record.name,
        "start_ns": record.start_ns,
        "end_ns": record.end_ns,
        "status": record.status,
        "error": record.error,
        "queue_ns": record.queue_ns,
        "busy_ns": record.busy_ns,
        "attempt": record.attempt,
        "job_index": record.job_index,
        "batch_id": _hex(record.batch_id),
        "counts": record.counts,
        "payload": record.payload,
        "is_point": record.is_point or None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _row(run: Run, record: Record) -> Iterator[object]:
    error = record.error
    yield run.run_id
    yield f"{record.event_id:016x}"
    yield _hex(record.parent_id)
    yield f"{record.trace_id:032x}"
    yield _safe(record.type)
    yield _safe(record.name)
    yield None if record.status is None else _safe(record.status)
    yield _date(run.started_wall_ns + record.start_ns)
    yield record.start_ns
    yield record.end_ns
    yield record.duration_ns
    yield record.queue_ns
    yield record.busy_ns
    yield record.attempt
    yield _hex(record.batch_id)
    yield record.job_index
    yield "true" if record.is_point else "false"
    yield None if error is None else _safe(error.type)
    yield None if error is None else _safe(error.message)
    yield encode_json(record.payload).decode() if record.payload else None


def _safe(text: str) -> str:
    # Blanks before it do not keep every spreadsheet from computing it.
    apostrophe = "'" if text.lstrip(" \xa0")[:1] in _FORMULA and text else ""
    return apostrophe + _STEERING.sub(_escaped, text)


def _escaped(char: re.Match[str]) -> str:
    return char[0].encode("unicode_escape").decode("ascii")


def _hex(event_id: int | None) -> str | None:
    return None if event_id is None else f"{event_id:016x}"


def _date(wall_ns: int) -> str:
    seconds, nanoseconds = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
