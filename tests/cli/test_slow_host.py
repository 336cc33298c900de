"""Which host is slow: a pipeline of HTTP requests that nobody changed, under ``spanloom run``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.looking import as_json, spanloom
from tests.instrument.targets.web import web

PROGRAM = Path(__file__).parent / "two_hosts.py"
JOBS = 160
QUICK_MS, SLOW_MS = 30, 130
LATE = 0.02
"""By how much of what is looked for the quick host may have been slower in one run than in the other."""
TRIES = 10


class Runs(NamedTuple):
    """Two runs: with both hosts quick, and with one of them slow.

    Attributes:
        quick, slow: Their records.
        hosts: The names of the hosts, the slow one first.
        truth: By run and host, the seconds that the program has measured for its requests, and for all of it.
    """

    quick: Path
    slow: Path
    hosts: tuple[str, str]
    truth: tuple[dict[str, float], dict[str, float]]


def record(file: Path, *urls: str) -> dict[str, float]:
    file.unlink(missing_ok=True)
    said = spanloom("run", "--record", file, PROGRAM, str(JOBS), *urls)
    return dict(json.loads(said))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Record both, and again if the machine stood still meanwhile, which makes requests slow that are not."""
    folder = tmp_path_factory.mktemp("runs")
    quick, slow = folder / "quick.db", folder / "slow.db"
    with web() as one, web() as other:
        urls = [[f"{site}/page?delay_ms={ms}" for site in (one, other)] for ms in (QUICK_MS, SLOW_MS)]
        for _ in range(TRIES):
            before = record(quick, *urls[0])
            after = record(slow, urls[1][0], urls[0][1])
            late_s = max(after[urls[0][1]] - before[urls[0][1]], before[urls[0][1]] - after[urls[0][1]])
            grown_s = after[urls[1][0]] - before[urls[0][0]]
            if late_s < LATE * grown_s:
                break
        hosts = (one.removeprefix("http://"), other.removeprefix("http://"))
        truth = [
            {"slow": run.pop(first), "quick": run.pop(urls[0][1]), **run}
            for run, first in ((before, urls[0][0]), (after, urls[1][0]))
        ]
        yield Runs(quick, slow, hosts, (truth[0], truth[1]))


def test_the_slow_host_is_named_with_its_share(runs: Runs) -> None:
    """All of the difference between the two runs is that host's, within 5 %, by as much as the program has measured."""
    found = as_json("diff", runs.quick, runs.slow)
    first = found["names"][0]
    assert first["name"] == f"GET {runs.hosts[0]}"
    assert first["share"] == pytest.approx(1, abs=0.05)
    grown_s = runs.truth[1]["slow"] - runs.truth[0]["slow"]
    assert first["delta_ns"] == pytest.approx(grown_s * 1e9, rel=0.05)
    assert f"\nGET {runs.hosts[0]} explains " in spanloom("diff", runs.quick, runs.slow)


def test_why_names_the_slow_host_of_one_run(runs: Runs) -> None:
    """Of the slow run alone: which host, and by how much it has made the run longer, within 5 %."""
    (found,) = as_json("why", runs.slow)
    assert found["code"] == "SLOW_CALL"
    assert f"`GET {runs.hosts[0]}`" in found["message"]
    # Of the same run, for on a busy machine the other one is as much longer as it pleases.
    slow_s, quick_s, lasted_s = (runs.truth[1][what] for what in ("slow", "quick", "lasted"))
    longer_s = (slow_s - quick_s) / (slow_s + quick_s) * lasted_s
    assert found["since_s"] == pytest.approx(longer_s, rel=0.05)


def test_tables_tell_the_hosts_apart(runs: Runs) -> None:
    """`show` has statistics for each."""
    names = {
        name["name"]: name["count"]
        for name in as_json("show", runs.slow)["names"]
        if name["type"] == "request"
    }
    assert names == dict.fromkeys((f"GET {host}" for host in runs.hosts), JOBS // 2)
