"""A run as a JSON document and as a table, read by other programs' readers."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from spanloom.events.error import ErrorInfo, Frame
from spanloom.store.model import Counts, Record
from spanloom.viewer.tables import CSV_COLUMNS, write_csv, write_json
from tests.viewer.recording import STARTED_NS, run_of

ERROR = ErrorInfo("app.BadPage", 'no "title",\r\n=1+1 here', (Frame("/srv/app.py", 12, "parse"),))
RECORDS = [
    Record(
        event_id=0xABC,
        parent_id=None,
        trace_id=0xF00D,
        type="batch",
        name="pages",
        start_ns=1_000,
        end_ns=5_000_000_007,
        status="ok",
        batch_id=0xABC,
        counts=Counts(2, 2, 0, 1, 0, 0, 3),
        payload={"runner": "run_jobs", "limit": 4},
    ),
    Record(
        event_id=(1 << 64) - 1,
        parent_id=0xABC,
        trace_id=0xF00D,
        type="job",
        name="fetch",
        start_ns=2_000,
        end_ns=3_000,
        status="error",
        error=ERROR,
        queue_ns=1_000,
        busy_ns=0,
        attempt=2,
        job_index=0,
        batch_id=0xABC,
    ),
    Record(
        event_id=3,
        parent_id=(1 << 64) - 1,
        trace_id=0xF00D,
        type="mark",
        name="half",
        start_ns=2_500,
        end_ns=2_500,
        status="ok",
        payload={"=cmd": "@SUM(A1)", "ü": None},
        is_point=True,
    ),
    Record(
        event_id=4,
        parent_id=0xABC,
        trace_id=0xF00D,
        type="job",
        name="fetch",
        start_ns=4_000,
        status="interrupted",
        job_index=1,
        batch_id=0xABC,
    ),
]


def rows_of(records: list[Record]) -> list[dict[str, str]]:
    parts: list[bytes] = []
    write_csv(run_of(), records, parts.append)
    text = b"".join(parts).decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert (len(rows), text.count("\r\n") > len(rows)) == (len(records), True)
    return rows


def document_of(records: list[Record]) -> dict[str, Any]:
    parts: list[bytes] = []
    write_json(run_of(), records, parts.append)
    found: dict[str, Any] = json.loads(b"".join(parts))
    assert len(found["records"]) == len(records)
    return found


def test_json_has_all_of_a_run() -> None:
    """The header is the run, and each record says what it has, ids in hexadecimal, nothing that it has not."""
    document = document_of(RECORDS)
    assert document["format"] == "spanloom.run"
    assert document["version"] == 1
    assert document["run"]["started_wall_ns"] == STARTED_NS
    assert document["run"]["argv"] == ["python", "pipeline.py", "--fast"]
    batch, failed, point, job = document["records"]
    assert batch == {
        "event_id": "0000000000000abc",
        "trace_id": "0000000000000000000000000000f00d",
        "type": "batch",
        "name": "pages",
        "start_ns": 1_000,
        "end_ns": 5_000_000_007,
        "status": "ok",
        "batch_id": "0000000000000abc",
        "counts": {
            "total": 2,
            "started": 2,
            "in_flight": 0,
            "failed": 1,
            "cancelled": 0,
            "backing_off": 0,
            "retried": 3,
            "skipped": 0,
        },
        "payload": {"runner": "run_jobs", "limit": 4},
    }
    assert failed["event_id"] == "f" * 16
    assert failed["error"] == {
        "type": "app.BadPage",
        "message": 'no "title",\r\n=1+1 here',
        "frames": [["/srv/app.py", 12, "parse"]],
    }
    assert failed["busy_ns"] == 0
    assert point["is_point"] is True
    assert point["payload"] == {"=cmd": "@SUM(A1)", "ü": None}
    assert job["status"] == "interrupted"
    assert "end_ns" not in job
    assert "is_point" not in job


def test_json_of_an_empty_run_is_a_document() -> None:
    """A run without events has an empty list of them."""
    assert document_of([])["records"] == []


def test_csv_has_a_row_for_each_event() -> None:
    """Any reader of RFC 4180 gets back every field, line breaks and quotes in texts included."""
    batch, failed, point, job = rows_of(RECORDS)
    assert list(batch) == list(CSV_COLUMNS)
    assert batch["start"] == "2026-09-21T14:13:20.000001000Z"
    assert batch["duration_ns"] == "4999999007"
    assert batch["parent_id"] == batch["error_type"] == batch["attempt"] == ""
    assert json.loads(batch["payload"]) == {"runner": "run_jobs", "limit": 4}
    assert failed["event_id"] == "f" * 16
    assert failed["error_message"] == 'no "title",\r\n=1+1 here'
    assert failed["busy_ns"] == "0"
    assert (point["is_point"], job["is_point"]) == ("true", "false")
    assert (job["status"], job["end_ns"], job["duration_ns"]) == ("interrupted", "", "")
    assert {row["run_id"] for row in (batch, failed, point, job)} == {run_of().run_id}


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1+1", "\xa0=1", "＝1", "=cmd|' /C calc'!A0"],
)
def test_csv_computes_nothing_in_a_spreadsheet(text: str) -> None:
    """A name, a type, a status or an error that a spreadsheet would compute has an apostrophe before it."""
    record = Record(1, None, 1, text, text, 0, 1, text, error=ErrorInfo(text, text))
    (row,) = rows_of([record])
    for column in ("type", "name", "status", "error_type", "error_message"):
        assert row[column] == "'" + text.replace("\r", "\\r")
    assert not any(value[:1] in "=+-@\t\r\n＝" for value in row.values() if value)


@pytest.mark.parametrize(
    "char", ["\x00", "\x07", "\b", "\r", "\x1b", "\x7f", "\x9b", "\u061c", "\u202e", "\u2066"]
)
def test_csv_does_not_steer_a_terminal(char: str) -> None:
    """Control characters and marks of direction are escaped, in payloads as JSON has it; a tab and line breaks stay."""
    text = f"a{char}b\tc\nd\r\ne"
    record = Record(1, None, 1, text, text, 0, 1, text, error=ErrorInfo(text, text), payload={text: text})
    pieces: list[bytes] = []
    write_csv(run_of(), [record], pieces.append)
    assert char not in b"".join(pieces).decode().replace("\r\n", "")
    (row,) = rows_of([record])
    for column in ("type", "name", "status", "error_type", "error_message"):
        assert row[column] == f"a{char.encode('unicode_escape').decode()}b\tc\nd\r\ne"
    assert json.loads(row["payload"]) == {text: text}


@pytest.mark.parametrize("char", ["\x00", "\r", "\x1b", "\x7f", "\x9b", "\u061c", "\u202e", "\u2066"])
def test_json_does_not_steer_a_terminal(char: str) -> None:
    """Control characters and marks of direction are escaped as JSON has it, which for a program are the same."""
    text = f"a{char}bé"
    record = Record(1, None, 1, text, text, 0, 1, text, error=ErrorInfo(text, text), payload={text: text})
    pieces: list[bytes] = []
    write_json(run_of(), [record], pieces.append)
    assert char not in b"".join(pieces).decode()
    assert "bé" in b"".join(pieces).decode()
    (found,) = document_of([record])["records"]
    assert (found["name"], found["error"]["message"], found["payload"]) == (text, text, {text: text})


@pytest.mark.parametrize("write", [write_json, write_csv])
def test_it_is_written_while_it_is_read(write: Any) -> None:
    """Of a long run, a bounded part is held at any moment."""
    waiting = longest = taken = 0

    def records() -> Any:
        nonlocal waiting, longest
        for number in range(20_000):
            waiting += 1
            longest = max(longest, waiting)
            yield Record(number + 1, None, 1, "step", "n" * 100, number, number + 1, "ok")

    def take(piece: bytes) -> None:
        nonlocal waiting, taken
        waiting = 0
        taken += piece.count(b"n" * 100)

    write(run_of(), records(), take)
    assert taken == 20_000
    assert longest < 1_000
