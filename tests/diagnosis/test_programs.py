"""Small programs, sick and healthy, in many shapes: each is told what it has, or left in peace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.diagnosis.harness import PROGRAMS, header, misses, run

SICK = [path for path in PROGRAMS if header(path)["expect"] != "OK"]
HEALTHY = [path for path in PROGRAMS if header(path)["expect"] == "OK"]
KINDS = ["asyncio", "uvloop"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", SICK, ids=lambda path: path.stem)
def test_a_sick_program_is_told_what_it_has(path: Path, kind: str) -> None:
    """The first finding has the code, and names who and what is concerned."""
    assert misses(path, run(kind, tuple(PROGRAMS))[path.stem]) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", HEALTHY, ids=lambda path: path.stem)
def test_a_healthy_program_is_left_in_peace(path: Path, kind: str) -> None:
    """No look at a healthy program finds anything."""
    assert misses(path, run(kind, tuple(PROGRAMS))[path.stem]) == []
