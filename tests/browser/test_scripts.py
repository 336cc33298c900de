"""The parts of the page's script that touch no document, run by Node against what Python says."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Final

import playwright
import pytest

from spanloom.handlers._text import format_ns
from spanloom.viewer._html_columns import NEAR, PLAIN, RISING, Table, pack

HERE: Final = Path(__file__).resolve().parent
SCRIPTS: Final = HERE.parent.parent / "src" / "spanloom" / "viewer" / "_page"


NODE: Final = str(Path(playwright.__file__).parent / "driver" / "node")
"""Playwright brings it: the same JavaScript as in a browser, without the browser."""


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.js")), ids=lambda path: path.name)
def test_a_script_is_javascript(path: Path) -> None:
    """Each part of the script is valid by itself."""
    done = subprocess.run([NODE, "--check", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_computed_from_the_data_is_right() -> None:
    """Columns are read back, aggregates leave nothing out, concurrency is exact: data_test.js says it one by one."""
    chance = random.Random(5)
    near = [chance.randrange(-(2**40), 2**40) for _ in range(500)]
    mixed = Table(rising=RISING, near=NEAR, signed=NEAR, plain=PLAIN, zeros=PLAIN)
    for rising, value in zip(sorted(chance.randrange(2**52) for _ in near), near, strict=True):
        mixed.add(rising, abs(value), value, chance.randrange(300), 0)
    single = Table(one=RISING, none=PLAIN)
    single.add(2**52, 0)
    tables = [mixed, single, Table(empty=NEAR)]
    described, columns = pack(tables)
    durations = [
        0,
        1,
        999,
        1_000,
        9_994,
        9_996,
        99_949,
        999_499,
        999_500,
        5_551_234,
        10**9,
        59_940_000_000,
        3_599 * 10**9,
    ]
    given = {
        "tables": described,
        "columns": columns,
        "expected": [{name: list(table.column(name)) for name in table.forms} for table in tables],
        "durations": [[ns, format_ns(ns)] for ns in durations],
    }
    done = subprocess.run(
        [NODE, "--test-reporter=tap", str(HERE / "data_test.js"), str(SCRIPTS / "data.js")],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "# pass 6" in done.stdout
