"""Programs that nobody has changed, instrumented from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

import spanloom
from spanloom.handlers.otel.instrumentor import SpanloomInstrumentor
from tests.environments import without_ours

PROGRAM = """
import asyncio, json, sys
from asyncio import gather

async def worker(semaphore, n):
    async with semaphore:
        await asyncio.sleep(0.005)
    return n

async def main():
    semaphore = asyncio.Semaphore(2)
    return await gather(*[worker(semaphore, n) for n in range(4)])

print(asyncio.run(main()))
"""
SHOW = """
spanloom = sys.modules.get("spanloom")
events = [] if spanloom is None else spanloom.get_callback_manager().recorder.ended()
print(json.dumps([event.type for event in events]))
"""
COMMAND = Path(sysconfig.get_path("scripts")) / "opentelemetry-instrument"
EVENTS = ["job", "job", "job", "job", "batch"]


def run(
    tmp_path: Path, *before: str, python: str = sys.executable, program: str = PROGRAM, **variables: str
) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(program))
    clean = without_ours()
    return subprocess.run(
        [python, *before, str(path)],
        env=clean | {"SPANLOOM_RECORD": str(tmp_path / "runs.db")} | variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("first", "variables", "expected"),
    [
        ("", {}, []),
        ("import spanloom", {}, []),
        ("import spanloom.autopatch", {}, EVENTS),
        ("import spanloom.autopatch", {"SPANLOOM_INSTRUMENT": "none"}, []),
        ("import spanloom", {"SPANLOOM_INSTRUMENT": "asyncio"}, EVENTS),
        ("import spanloom", {"SPANLOOM_INSTRUMENT": "all"}, EVENTS),
        ("import spanloom", {"SPANLOOM_INSTRUMENT": " "}, []),
        ("from asyncio import gather; import spanloom; spanloom.instrument('asyncio')", {}, EVENTS),
    ],
)
def test_one_import_or_a_variable_is_enough(
    first: str, variables: dict[str, str], expected: list[str], tmp_path: Path
) -> None:
    """`spanloom.autopatch` patches all or what the variable names; the variable alone is heeded by any import."""
    done = run(tmp_path, program=first + "\n" + PROGRAM + SHOW, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["[0, 1, 2, 3]", json.dumps(expected)]


def test_a_name_that_is_wrong_is_said_and_left_out(tmp_path: Path) -> None:
    """A typing error in the environment does not stop the program, nor the other targets."""
    done = run(tmp_path, program="import spanloom\n" + PROGRAM + SHOW, SPANLOOM_INSTRUMENT="asincio, asyncio")
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["[0, 1, 2, 3]", json.dumps(EVENTS)]
    assert "there is no target 'asincio'; there are: all, none, asyncio" in done.stderr


@pytest.mark.parametrize(
    ("options", "variables", "events"),
    [
        ([], {}, 5),
        (["--instrument", "none"], {"SPANLOOM_INSTRUMENT": "all"}, 0),
        ([], {"SPANLOOM_INSTRUMENT": "none"}, 0),
        (["--instrument", "asyncio"], {"SPANLOOM_INSTRUMENT": "none"}, 5),
    ],
)
def test_spanloom_run_shows_the_batch(
    options: list[str], variables: dict[str, str], events: int, tmp_path: Path
) -> None:
    """``spanloom run`` patches by default; its option goes before the variable."""
    done = run(tmp_path, "-m", "spanloom", "run", *options, **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 1, 2, 3]\n", "")
    shown = subprocess.run(
        [sys.executable, "-m", "spanloom", "show", "--file", str(tmp_path / "runs.db"), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(shown.stdout)["events"] == events


def test_what_a_job_logs_is_shown_on_request(tmp_path: Path) -> None:
    """``--instrument all,logging``, or the variable, puts the lines under their jobs; what is written stays."""
    program = "import logging; logging.basicConfig(format='%(message)s')\n" + PROGRAM.replace(
        "    return n\n", "    logging.warning('worked %d', n)\n    return n\n"
    )
    plain = run(tmp_path, program=program)
    assert plain.stderr.count("worked") == 4
    for options, variables in (
        (["--instrument", "all,logging"], {}),
        ([], {"SPANLOOM_INSTRUMENT": "all,logging"}),
    ):
        done = run(tmp_path, "-m", "spanloom", "run", "--payloads", *options, program=program, **variables)
        assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, plain.stderr)
        table = subprocess.run(
            [
                sys.executable,
                "-m",
                "spanloom",
                "export",
                "--file",
                str(tmp_path / "runs.db"),
                "--format",
                "json",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert table.stdout.count('"worked ') == 4


def test_a_progress_bar_on_request(tmp_path: Path) -> None:
    """``--handlers progress`` shows how far a batch is that nobody wrote as one."""
    done = run(tmp_path, "-m", "spanloom", "run", "--handlers", "progress")
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2, 3]\n")
    assert "worker" in done.stderr
    assert "4/4" in done.stderr


def test_the_instrumentor_patches_and_undoes() -> None:
    """`SpanloomInstrumentor`, which ``opentelemetry-instrument`` loads, patches libraries, and undoes its own part."""
    spanloom.instrument("asyncio")
    instrumentor = SpanloomInstrumentor()
    instrumentor.instrument()
    instrumentor.uninstrument()
    assert spanloom.instrumented() == ("asyncio",)
    spanloom.uninstrument()
    instrumentor.instrument()
    try:
        assert "asyncio" in spanloom.instrumented()
    finally:
        instrumentor.uninstrument()
    assert spanloom.instrumented() == ()


def test_opentelemetry_instrument_exports_the_batch(tmp_path: Path) -> None:
    """An unmodified program under ``opentelemetry-instrument``: its gather is a span with four under it."""
    done = run(
        tmp_path,
        sys.executable,
        python=str(COMMAND),
        PYTHONPATH=os.pathsep.join(path for path in sys.path if path),
        OTEL_TRACES_EXPORTER="console",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[0, 1, 2, 3]\n")
    assert done.stdout.count('"name": "worker"') >= 5
