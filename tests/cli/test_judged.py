"""The whole story: a run that is killed half-way, what the record says of it, and a second run that does the rest.

The program is the example, unmodified, with a callback manager of its own. tests/browser opens the page of such a run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.commands import done, spanloom
from tests.cli.killed_example import DOCUMENTS, kill_half_way, run_example


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the example was run, and killed half-way."""
    folder = tmp_path_factory.mktemp("judged")
    kill_half_way(folder)
    return folder


def test_show_names_the_jobs_that_were_open_and_for_how_long(killed: Path) -> None:
    """Each by its index, its age at the end and what it was at; no more than there were workers, and not none."""
    shown = spanloom(killed, "show", "last")
    assert "INTERRUPTED: its process died" in shown.splitlines()[0]
    section = shown.split("Interrupted: what was open when the process died\n", 1)[1].split("\n\n", 1)[0]
    (count,) = re.findall(r"^  job fetch: (\d+)$", section, re.MULTILINE)
    assert 1 <= int(count) <= 20
    jobs = re.findall(r"^    \[(\d+)\]  ([\d.]+ (?:us|ms|s))\b", section, re.MULTILINE)
    assert len(jobs) == min(int(count), 10)
    assert re.search(r"  in (?:attempt|backoff|slot_wait) ", section)
    assert len({index for index, _ in jobs}) == len(jobs)


def test_top_shows_them_too(killed: Path) -> None:
    """`top` of a dead run is what it was at when it died."""
    seen = json.loads(spanloom(killed, "top", "last", "--json"))
    assert seen["run"]["state"] == "interrupted"
    fetching = [flight for flight in seen["in_flight"] if flight["name"] == "fetch"]
    assert 1 <= len(fetching) <= 20
    assert {flight["state"] for flight in fetching} <= {"running", "waiting", "backing off"}
    assert all(0 < flight["age_ns"] < 60e9 for flight in fetching)


def test_the_page_of_it_is_written(killed: Path) -> None:
    """One file, with the run in it."""
    spanloom(killed, "export", "last", "--format", "html", "-o", "page.html")
    page = (killed / "page.html").read_text(encoding="utf-8")
    assert page[:15].lower() == "<!doctype html>"
    assert "fetch_and_count.py" in page


@pytest.mark.slow
def test_the_second_run_fetches_the_rest_only(killed: Path) -> None:
    """By the server's own account: no document that the first run has stored is asked for again."""
    text = done(killed, run_example()).replace(",", "")
    (ok, failed, attempts, requests) = map(
        int, re.findall(r"= (\d+) ok \+ (\d+) failed; (\d+) attempts = (\d+) requests served", text)[0]
    )
    (stored,) = map(int, re.findall(r"^of these (\d+) documents", text, re.MULTILINE))
    assert ok + failed == DOCUMENTS
    assert attempts == requests
    again = json.loads(spanloom(killed, "top", "last", "--json"))
    (batch,) = (batch for batch in again["batches"] if batch["name"] == "fetch")
    assert batch["total"] == batch["ended"] == DOCUMENTS
    assert DOCUMENTS // 3 <= stored < DOCUMENTS
    skipped = spanloom(killed, "export", "last", "--format", "csv").count(",skipped,")
    assert skipped == stored
    assert again["run"]["exit_code"] == 0
