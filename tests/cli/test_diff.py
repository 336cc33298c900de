"""``spanloom diff``: of two recorded runs of a real program, it names the slow endpoint and its share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.looking import as_json, record, spanloom

UNEVEN_S = 0.1
"""How much later the calls of one endpoint may be than those of another, in all: a fortieth of what is looked for."""
TRIES = 10


def share(found: Any, name: str) -> float:
    return float(next(each["share"] for each in found["names"] if each["name"] == name))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, float]]]:
    """Three runs in one file, and the seconds that the calls of each endpoint took in each."""
    folder = tmp_path_factory.mktemp("runs")
    file = folder / "runs.db"
    ways = {
        "plain": [],
        "slow": ["--slow", "orders:0.04"],
        "two": ["--slow", "orders:0.03", "--slow", "items:0.01", "--bad"],
    }
    truth = {way: record_evenly(file, folder / f"{way}.db", *args) for way, args in ways.items()}
    return file, truth


def record_evenly(file: Path, before: Path, *args: str) -> dict[str, float]:
    """Record a run; if the machine stood still in it, which makes calls slow that are not, once more without it."""
    if file.exists():
        shutil.copyfile(file, before)
    for _ in range(TRIES):
        truth = record(file, *args)
        late_s = [
            took_s - truth[f"asked {name}"] for name, took_s in truth.items() if f"asked {name}" in truth
        ]
        if max(late_s) - min(late_s) < UNEVEN_S:
            break
        file.unlink()
        if before.exists():
            shutil.copyfile(before, file)
    return truth


def ids(file: Path) -> dict[str, str]:
    listed = as_json("ls", "--file", file)["runs"]
    return dict(zip(("two", "slow", "plain"), (run["run_id"] for run in listed), strict=True))


def test_the_slow_endpoint_is_named_with_its_share(runs: tuple[Path, dict[str, dict[str, float]]]) -> None:
    """All of the difference is the endpoint's, within 5 %, and it is as much as the program itself has measured."""
    file, truth = runs
    which = ids(file)
    found = as_json("diff", which["plain"], which["slow"], "--file", file)
    assert found["names"][0]["name"] == "GET /orders"
    assert share(found, "GET /orders") == pytest.approx(1, abs=0.05)
    grown = truth["slow"]["orders"] - truth["plain"]["orders"]
    assert found["names"][0]["delta_ns"] == pytest.approx(grown * 1e9, rel=0.02)
    assert found["outside_share"] + sum(each["share"] for each in found["names"]) == pytest.approx(1)
    text = spanloom("diff", which["plain"][:12], which["slow"][:12], "--file", file)
    assert "\nGET /orders explains " in text
    assert text.count(" explains ") == 1


def test_two_slow_endpoints_have_their_shares(runs: tuple[Path, dict[str, dict[str, float]]]) -> None:
    """Three quarters and one quarter of the harm, within 5 % of the truth; and what fails more is told."""
    file, _ = runs
    which = ids(file)
    found = as_json("diff", which["plain"], which["two"], "--file", file)
    for name, part in (("orders", 0.75), ("items", 0.25)):
        assert share(found, f"GET /{name}") == pytest.approx(part, abs=0.05)
    assert {"type": "ValueError", "shape": "order <n> has no customer", "count": [0, 40]} in found["errors"]
    text = spanloom("diff", which["plain"], which["two"], "--file", file)
    assert "new: 0 → 40 × ValueError: order <n> has no customer" in text


def test_waits_for_connections_are_told_apart_from_their_cause(
    runs: tuple[Path, dict[str, dict[str, float]]],
) -> None:
    """All endpoints wait longer for a connection when one holds them longer: listed, and nobody's share."""
    file, _ = runs
    which = ids(file)
    found = as_json("diff", which["plain"], which["slow"], "--file", file)
    (wait,) = found["waits"]
    assert (wait["type"], wait["name"], wait["speed"]) == ("slot_wait", "connection", "slower")
    assert "connection" not in {each["name"] for each in found["names"]}


def test_the_exit_code_tells_whether_it_got_worse(runs: tuple[Path, dict[str, dict[str, float]]]) -> None:
    """With --check, 1 where B is slower or fails more, 0 where it is faster; without, 0 either way."""
    file, _ = runs
    which = ids(file)
    spanloom("diff", which["plain"], which["slow"], "--file", file, "--check", code=1)
    spanloom("diff", which["slow"], which["plain"], "--file", file, "--check")
    spanloom("diff", which["plain"], which["slow"], "--file", file)


def test_runs_of_different_files_are_compared(
    runs: tuple[Path, dict[str, dict[str, float]]], tmp_path: Path
) -> None:
    """A file stands for its last run; --check says no more than that a run is not worse than itself."""
    file, _ = runs
    other = tmp_path / "copy.db"
    other.write_bytes(file.read_bytes())
    assert "No difference beyond noise" in spanloom("diff", file, other, "--check")


def test_a_run_that_is_not_there_is_said_with_those_that_are(
    runs: tuple[Path, dict[str, dict[str, float]]],
) -> None:
    """Exit code 1, and one line that names what could have been meant."""
    file, _ = runs
    said = spanloom("diff", "ffff", "last", "--file", file, code=1)
    assert "'ffff'" in said
    assert "endpoints.py" in said


def test_without_names_the_last_run_is_compared_with_the_one_before(
    runs: tuple[Path, dict[str, dict[str, float]]],
) -> None:
    """The one before is the newest other run of the same name."""
    file, _ = runs
    which = ids(file)
    assert as_json("diff", "--file", file) == as_json("diff", which["slow"], which["two"], "--file", file)
