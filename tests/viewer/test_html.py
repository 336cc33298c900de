"""The page of a run as a file: what is in it, how large it is, and that nothing in it can end the data it is in."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any, Final

import pytest

from spanloom.handlers._text import format_ns
from spanloom.store.model import Record, Run
from spanloom.viewer._command import typed
from spanloom.viewer.html import write_html
from tests.viewer import page_runs
from tests.viewer.runs import MS, Made, run

BLOCK: Final = re.compile(r"<(script|style)([^>]*)>(.*?)</\1>", re.DOTALL)


class Read:
    """A page, read as a browser does."""

    def __init__(self, of: Run, records: Any) -> None:
        file = io.StringIO()
        write_html(of, records, file)
        self.text = file.getvalue()
        blocks = {attributes.strip() or tag: text for tag, attributes, text in BLOCK.findall(self.text)}
        self.style, self.script = blocks["style"], blocks["script"]
        self.description = json.loads(blocks['type="application/json" id="description"'])
        packed = base64.b64decode(blocks['type="application/octet-stream" id="columns"'])
        self.batches, self.bars, self.insets = unpacked(self.description["tables"], zlib.decompress(packed))

    def texts(self, table: dict[str, list[int]], column: str) -> list[str]:
        """Return a column of texts."""
        return [self.description["texts"][number] for number in table[column]]

    def statuses(self, table: dict[str, list[int]]) -> list[str]:
        """Return how the rows of a table ended."""
        return [self.description["statuses"][number] for number in table["status"]]

    def queued(self) -> list[int]:
        """Return for how long each bar had waited, in ticks."""
        began = [self.batches["start"][batch] for batch in self.bars["batch"]]
        rows = zip(self.bars["start"], began, self.bars["ready"], strict=True)
        return [start - begin - ready for start, begin, ready in rows]

    def bands(self) -> list[str]:
        """Return the band of each bar, as its name, with a number where there are several of that name."""
        names: dict[str, int] = {}
        titles = []
        for band in self.description["bands"]:
            names[band["name"]] = names.get(band["name"], 0) + 1
            titles.append(f"{band['name']} {names[band['name']]}")
        return [titles[self.batches["band"][batch]] for batch in self.bars["batch"]]


def unpacked(tables: list[dict[str, Any]], data: bytes) -> list[dict[str, list[int]]]:
    """Return the tables; the same as the page's `decodeTables`, in another way."""
    found = []
    for table in tables:
        columns: dict[str, list[int]] = {}
        rows = table["rows"]
        for column in table["columns"]:
            planes = [data[at * rows : (at + 1) * rows] for at in range(column["planes"])]
            data = data[column["planes"] * rows :]
            values = [int.from_bytes(digits, "little") for digits in zip(*planes, strict=True)] or [0] * rows
            if column["form"] == "near":
                values = [-(value + 1) // 2 if value % 2 else value // 2 for value in values]
            if column["form"] != "plain":
                for row in range(1, rows):
                    values[row] += values[row - 1]
            columns[column["name"]] = values
        found.append(columns)
    assert data == b""
    return found


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_bars_are_jobs_and_what_happened_outside_of_them() -> None:
    """Each bar has its times, its slot, its index, its queue time, its state and its error."""
    made = Made()
    batch = made.event("batch", "fetch", 1, 9, batch_id=1, payload={"runner": "run_jobs", "limit": 2})
    made.job("fetch", 0, 1.01, 4, batch, queue=0.01)
    wrong = ("ValueError", "no such thing", page_runs.FRAMES)
    made.job("fetch", 1, 1.02, 2, batch, queue=0.02, error=wrong, attempt=3, busy_ns=7)
    made.job("fetch", 2, 2.5, None, batch, queue=0.5, status=None)
    made.event("step", "after", 8, 9)
    page = Read(run(10, state="running", ended_wall_ns=None), made.sorted())
    assert page.description["tick_ns"] == 1
    assert page.texts(page.bars, "kind") == ["batch", "job", "job", "job", "step"]
    assert page.bars["start"] == [1_000_000, 1_010_000, 1_020_000, 2_500_000, 8_000_000]
    assert page.bars["length"] == [8_000_000, 2_990_000, 980_000, 7_500_000, 1_000_000]
    assert page.bars["slot"] == [0, 0, 1, 1, 1]
    assert page.bars["index"] == [0, 1, 2, 3, 0]
    assert page.statuses(page.bars) == ["ok", "ok", "error", "open", "ok"]
    assert page.bars["attempts"] == [0, 0, 3, 0, 0]
    assert page.bars["busy"] == [0, 0, 8, 0, 0]
    assert page.bands() == ["outside of jobs 1", *["fetch 1"] * 3, "outside of jobs 1"]
    assert page.queued()[1:4] == [10_000, 20_000, 500_000]
    errors = [number and page.description["errors"][number - 1]["message"] for number in page.bars["error"]]
    assert errors == [0, 0, "no such thing", 0, 0]
    assert page.description["bands"][1] == {
        "name": "fetch",
        "parent": -1,
        "note": "run_jobs, limit 2",
        "rows": 2,
    }


def test_insets_know_their_bar_and_how_deep_they_are() -> None:
    """An attempt is in its job, a wait in its attempt, whatever came first of what started at one instant."""
    made = Made()
    batch = made.event("batch", "fetch", 1, 9, batch_id=1)
    one, other = (made.job("fetch", index, 1, 8, batch) for index in range(2))
    attempt = made.event("attempt", "fetch", 1, 5, one, job_index=0, batch_id=batch, attempt=1)
    made.event("slot_wait", "connection", 1, 2, attempt, job_index=0, batch_id=batch)
    made.event("backoff", "fetch", 6, 7, other, job_index=1, batch_id=batch, attempt=1)
    backwards = made.records[4::-1] + made.records[5:]
    page = Read(run(10), backwards)
    assert page.texts(page.insets, "kind") == ["attempt", "slot_wait", "backoff"]
    assert [page.bars["index"][bar] - 1 for bar in page.insets["bar"]] == [0, 0, 1]
    assert page.insets["depth"] == [0, 1, 0]
    assert page.texts(page.bars, "kind") == ["batch", "job", "job"]


def test_what_cannot_be_placed_is_drawn_outside() -> None:
    """What outlived its job, and what has lost its job or its batch, is not left out."""
    made = Made()
    batch = made.event("batch", "fetch", 1, 5, batch_id=1)
    first = made.job("fetch", 0, 1, 2, batch)
    made.job("fetch", 1, 3, 4, batch)
    made.event("step", "late", 3.5, 3.8, first, job_index=0, batch_id=batch)
    made.event("step", "lost", 3.9, 3.95, 999, job_index=9, batch_id=batch)
    made.job("fetch", 3, 4.5, 7, 99)
    page = Read(run(10), made.sorted())
    assert page.texts(page.bars, "kind") == ["batch", "job", "job", "step", "step", "job"]
    assert page.bands()[3:] == ["outside of jobs 1", "outside of jobs 1", "fetch 2"]
    assert page.description["bands"][2]["note"] == "its batch is not in the record"


def test_batches_of_one_name_share_bands_and_those_at_one_time_do_not() -> None:
    """One after the other: one band. At one time: one each. In another batch's jobs: below that batch."""
    made = Made()
    outer = made.event("batch", "outer", 0, 90, batch_id=1)
    jobs = [made.job("work", index, 1 + index, 80, outer) for index in range(2)]
    for start, index in ((10, 0), (20, 1), (50, 0)):
        inner = made.event("batch", "inner", start, start + 20, jobs[index], job_index=index, batch_id=outer)
        made.job("part", 0, start + 1, start + 9, inner)
    page = Read(run(100), made.sorted())
    assert page.bands() == ["outside of jobs 1", "outer 1", "outer 1", "inner 1", "inner 2", "inner 1"]
    bands = [(band["name"], band["parent"]) for band in page.description["bands"]]
    assert bands == [("outside of jobs", -1), ("outer", -1), ("inner", 1), ("inner", 1)]


def test_a_dead_run_is_drawn_to_its_last_moment() -> None:
    """What was open lasts until the run was last seen, and is called interrupted."""
    page = Read(*page_runs.killed(page_runs.lively(200, 8), 300))
    ends = [start + length for start, length in zip(page.bars["start"], page.bars["length"], strict=True)]
    interrupted = [
        end for end, status, kind in zip(ends, page.statuses(page.bars), page.texts(page.bars, "kind"), strict=True)
        if status == "interrupted" and kind == "job"
    ]  # fmt: skip
    assert len(interrupted) == 8
    assert set(interrupted) == {page.description["end"]} == {300 * MS // page.description["tick_ns"]}


def test_the_tables_say_what_the_analysis_says() -> None:
    """Times by name, errors by shape, the slowest jobs with the bar that each of them is."""
    whole, records = page_runs.lively(500, 16)
    page = Read(whole, records)
    names, errors, slowest = page.description["sections"]
    assert page.description["command"] == typed(whole.argv)
    titles = [column["title"] for column in names["columns"]]
    fetch = dict(zip(titles, names["rows"][0], strict=True))
    jobs = [record for record in records if (record.type, record.name) == ("job", "fetch")]
    longest = max(jobs, key=lambda record: record.duration_ns or 0)
    assert (fetch["name"], fetch["type"], fetch["count"]) == ("fetch", "job", "500")
    failed, late = (sum(record.status == status for record in jobs) for status in ("error", "timeout"))
    assert fetch["not ok"] == f"{failed} failed, {late} timed out"
    assert fetch["queue"] == format_ns(
        sum(record.queue_ns or 0 for record in jobs)
    )  # sums, as `show` has them
    assert fetch["run"] == format_ns(sum(record.duration_ns or 0 for record in jobs))
    assert fetch["attempts"] == f"{sum(record.attempt or 0 for record in jobs)}"
    raised = sum(record.type == "attempt" and record.status == "error" for record in records)
    assert errors["rows"][0][0] == "httpx.HTTPStatusError"
    assert errors["rows"][0][2] == str(raised)
    first = slowest["rows"][0][0]
    assert first["text"] == f"fetch #{longest.job_index}"
    assert page.bars["index"][first["bar"]] - 1 == longest.job_index


# -- what it costs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen_ns", "tick_ns"),
    [(0, 1), (999_999_000, 1), (10**9, 10), (6 * 10**10, 100), (10**11, 1_000), (10**17, 1_000)],
)
def test_times_are_as_fine_as_the_run_is_short(seen_ns: int, tick_ns: int) -> None:
    """A run has at least 100 million ticks, and no tick is longer than a microsecond."""
    assert Read(run(seen_ns / MS), []).description["tick_ns"] == tick_ns


@pytest.mark.slow
def test_100_000_jobs_make_a_small_page() -> None:
    """A job costs some 7 bytes of the page, and one with attempts, waits and errors less than 30."""
    assert len(Read(*page_runs.plain(100_000, 64)).text) < 800_000
    assert len(Read(*page_runs.lively(20_000, 64)).text) < 500_000 + 40_000 * 15


@pytest.mark.slow
def test_records_are_taken_one_by_one() -> None:
    """They may come from an iterator that never has more than one of them, and little is kept of each."""

    def stream() -> Iterator[Record]:
        batch = Record(1, None, 7, "batch", "fetch", 0, batch_id=1)
        yield batch
        for index in range(50_000):
            yield Record(
                index + 2, 1, 7, "job", "fetch", 1_000 * index, 1_000 * index + 4_500, "ok", batch_id=1
            )

    file = io.StringIO()
    tracemalloc.start()
    write_html(run(1_000, state="running", ended_wall_ns=None), stream(), file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / 50_000 < 600


def test_texts_are_bounded() -> None:
    """Names, errors and payloads beyond what a page can carry are shortened, and the page says how many."""
    made = Made()
    batch = made.event("batch", "fetch", 0, 1000, batch_id=1)
    for index in range(12_000):
        error, payload = ("ValueError", f"{index} " * 80), {"text": f"{index} " * 100}
        made.job(f"job {index}", index, index / 100, 1000, batch, error=error, payload=payload)
    page = Read(run(1000), made.sorted())
    assert len(page.text) < 3_000_000
    assert len(page.description["texts"]) < 2_100
    assert page.texts(page.bars, "name")[-1] == "…"
    left_out = page.description["left_out"]
    assert left_out["payloads"] == 12_000 - len(page.description["bar_payloads"]) > 0
    assert left_out["errors"] > 0
    last = page.description["errors"][page.bars["error"][-1] - 1]
    assert (last["type"], last["message"]) == ("ValueError", "…")


# -- what it must not do -----------------------------------------------------------------------------------------------


def test_the_policy_names_the_script_and_the_style_and_nothing_else() -> None:
    """Its hashes are those of the text between the tags; there is no handler, no link out, and no second script."""
    page = Read(*page_runs.hostile())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page.text)
    assert policy is not None
    directives = dict(part.strip().split(" ", 1) for part in policy[1].split(";"))
    digest = {
        name: "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for name, text in (("script-src", page.script), ("style-src", page.style))
    }
    assert directives == digest | {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert len(BLOCK.findall(page.text)) == 4
    assert page.text.index("Content-Security-Policy") < page.text.index("<style")
    markup = BLOCK.sub("", page.text)
    assert not re.search(r"\son\w+=|https?:|style=|javascript:", markup)


def test_the_script_makes_no_markup_out_of_text() -> None:
    """It does not use what would: neither markup from strings, nor code from strings, nor attributes that are code."""
    page = Read(run(0), [])
    markup = r"innerHTML|outerHTML|insertAdjacent|document\.write|srcdoc|\.src\s*=|\.href\s*="
    code = r"\beval\(|new Function|\bfetch\(|\bimport\(|XMLHttpRequest"
    assert not re.search(f"{markup}|{code}", page.script)
    assert "</script" not in page.script.lower()


def test_hostile_text_does_not_leave_its_block() -> None:
    """No character that could end the data is in it as such, nor one that hides or reorders what is read."""
    page = Read(*page_runs.hostile())
    block = re.search(r'id="description">(.*?)</script>', page.text, re.DOTALL)
    assert block is not None
    assert not re.search(
        r"[<>&'\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", block[1]
    )
    assert page.description["texts"][page.bars["name"][1]] == page_runs.HOSTILE[0]
    # It may be written in any encoding that a file may have.
    assert page.text.encode("utf-8").decode("utf-8") == page.text
