"""The command line of a run, as it is shown."""

from __future__ import annotations

import pytest

from spanloom.viewer._command import typed

PYTHON = "/srv/app/.venv/bin/python3"


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (
            [PYTHON, "/srv/app/.venv/bin/spanloom", "run", "a.py", "--to", "x y"],
            "spanloom run a.py --to 'x y'",
        ),
        ([PYTHON, "-m", "spanloom", "run", "-m", "job"], "spanloom run -m job"),
        ([PYTHON, "/srv/app/a.py", "1"], "python3 /srv/app/a.py 1"),
        ([PYTHON, "-X", "dev", "-m", "spanloom", "run", "a.py"], "python3 -X dev -m spanloom run a.py"),
        ([PYTHON, "my_spanloom.py"], "python3 my_spanloom.py"),
        ([PYTHON], "python3"),
        ([], ""),
        ([PYTHON, "a.py", "\x1b[2J"], r"python3 a.py '\x1b[2J'"),
    ],
)
def test_paths_of_an_installation_are_left_out(argv: list[str], shown: str) -> None:
    """What the script was told is what a reader looks for; where programs are installed is in its way."""
    assert typed(argv) == shown
