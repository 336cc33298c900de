"""Programs of others, unmodified, under ``spanloom run``: the same output and exit code, and a tree of what they do.

They need what ``make test-programs`` sets up, and are run by it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spanloom.store.model import Record
from spanloom.store.reader import StoreReader
from tests.instrument.model_server import model_server
from tests.programs.catalog import PROGRAMS, ROOT, Program


def run(program: Program, url: str, folder: Path, *under: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("SPANLOOM_", "OTEL_"))}
    return subprocess.run(
        [program.python, *under, *program.arguments],
        env={
            **clean,
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONHASHSEED": "0",
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": f"{url}/v1",
        },
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_of_others_is_seen_and_stays_the_same(program: Program, tmp_path: Path) -> None:
    """Output and exit code are those without us, no event is left open, and the jobs are under what runs them."""
    record = tmp_path / "runs.db"
    with model_server(program.latency_s) as server, ThreadPoolExecutor() as pool:
        plain = pool.submit(run, program, server.url, tmp_path / "plain")
        seen = pool.submit(
            run, program, server.url, tmp_path / "seen", "-m", "spanloom", "run", "--record", str(record)
        )
        without, with_us = plain.result(), seen.result()
    assert without.returncode == program.exit_code, without.stderr
    assert with_us.returncode == program.exit_code, with_us.stderr
    assert program.comparable(with_us.stdout) == program.comparable(without.stdout)
    assert ("Traceback" in with_us.stderr) is ("Traceback" in without.stderr)
    assert "is not instrumented" not in with_us.stderr
    with StoreReader(record) as reader:
        ended = reader.runs()[
            -1
        ]  # the first one; a process that it has forked or spawned may have one of its own
        records = list(reader.records(ended))
    assert ended.exit_code == program.exit_code
    assert [event.name for event in records if event.end_ns is None] == []
    found = set(paths(records))
    missing = [path for path in program.tree if not any(matches(path, one) for one in found)]
    assert missing == [], "\n".join(" > ".join(one) for one in sorted(found))


def paths(records: list[Record]) -> Iterator[tuple[str, ...]]:
    """Yield for each event the types and names from its root to it; the parent of each has to be there."""
    known: dict[int, tuple[str, ...]] = {}
    for event in records:
        above = () if event.parent_id is None else known[event.parent_id]
        known[event.event_id] = path = (*above, f"{event.type} {event.name}")
        yield path


def matches(wanted: str, path: tuple[str, ...]) -> bool:
    """Tell whether `path` has what is wanted one under the other; ``> ... >`` for any number of events between."""
    pieces = [piece.split(" > ") for piece in wanted.split(" > ... > ")]
    at = 0
    for piece in pieces:
        ends = [
            start + len(piece)
            for start in range(at, len(path) - len(piece) + 1)
            if all(_is(one, event) for one, event in zip(piece, path[start:], strict=False))
        ]
        if not ends:
            return False
        at = ends[0]
    return True


def _is(wanted: str, event: str) -> bool:
    return event == wanted or (wanted.endswith(" ...") and event.startswith(wanted.removesuffix("...")))
