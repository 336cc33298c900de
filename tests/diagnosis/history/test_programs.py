"""What time tells of small programs, sick and healthy: the sickness, its names and its line, and nothing else."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.diagnosis.harness import header
from tests.diagnosis.history.judge import judge

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
SLACK = 2
"""Lines by which a place may be off."""


@cache
def found() -> dict[Path, list[dict[str, Any]]]:
    """Return what is found in all of them; run side by side, for each takes some seconds."""
    return judge({path: header(path)["expect"] for path in PROGRAMS})


@pytest.mark.slow
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_has_what_its_header_says(path: Path) -> None:
    """The first finding has the expected code, its sentence the names, its place the line; a healthy one has none."""
    expected, findings = header(path), found()[path]
    if expected["expect"] == "OK":
        assert findings == []
        return
    first = findings[0]
    assert first["code"] == expected["expect"]
    for name in expected["names"].split(", "):
        assert re.search(rf"(?<!\w)({name})(?!\w)", first["message"], re.IGNORECASE), first["message"]
    file, _, line = first["location"].rpartition(":")
    assert Path(file).name == path.name
    assert any(abs(int(line) - int(one)) <= SLACK for one in expected["line"].split("|"))
