"""``tools/pytest-twice``, which every target of the Makefile runs the tests with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each runs pytest two or three times

TOOL = Path(__file__).parents[1] / "tools" / "pytest-twice"
UNSTEADY = """
    from pathlib import Path

    def test_unsteady():
        seen = Path("seen")
        assert seen.exists(), seen.touch()

    def test_steady():
        pass
"""


def run(pytester: pytest.Pytester, program: str) -> subprocess.CompletedProcess[str]:
    pytester.makepyfile(program)
    return subprocess.run(
        [str(TOOL), sys.executable, "-p", "no:spanloom", "-p", "no:asyncio"],
        cwd=pytester.path,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_what_passes_the_second_time_is_named(pytester: pytest.Pytester) -> None:
    """The run counts as passed, and says which test was unsteady."""
    done = run(pytester, UNSTEADY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        done.stdout.splitlines()[-1]
        == "FAILURE then SUCCESS: test_what_passes_the_second_time_is_named.py::test_unsteady"
    )
    assert "1 failed, 1 passed" in done.stdout
    assert "\n== once more, alone:\n" in done.stdout


def test_what_fails_twice_has_failed(pytester: pytest.Pytester) -> None:
    """A second try helps nothing that is wrong."""
    done = run(pytester, UNSTEADY + "\n    def test_wrong():\n        assert 0\n")
    assert done.returncode == 1
    assert "FAILURE then SUCCESS" not in done.stdout


def test_many_failures_are_not_run_again(pytester: pytest.Pytester) -> None:
    """Six at once are no accident."""
    many = "\n".join(f"    def test_{number}():\n        assert 0\n" for number in range(6))
    done = run(pytester, many)
    assert done.returncode == 1
    assert "once more" not in done.stdout


def test_a_run_without_tests_is_no_success(pytester: pytest.Pytester) -> None:
    """The code of pytest is kept where no test has failed."""
    assert run(pytester, "x = 1").returncode == pytest.ExitCode.NO_TESTS_COLLECTED
