"""The start of ``spanloom run``: what is loaded for it, and that the short way means what the long one does."""

from __future__ import annotations

import ast
import gc
import os
import signal
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom._command import is_command
from spanloom.cli._entry import without_options
from spanloom.cli._launch import launch
from spanloom.cli.run import run

TIMEOUT_S = 60
ABSENT = (
    # what parses arguments and shows records
    *("click", "difflib", "gettext", "rich", "spanloom.cli._main", "spanloom.cli.run", "spanloom.viewer"),
    # what answers who asks, and what it needs
    *(
        "concurrent.futures.process",
        "concurrent.futures.thread",
        "fractions",
        "multiprocessing",
    ),
    *("pickle", "statistics", "sysconfig", "spanloom.diagnosis.finding", "spanloom.diagnosis.history.flow"),
    *("spanloom.diagnosis.history.rules", "spanloom.diagnosis.history.sight", "spanloom.diagnosis.model"),
    *("spanloom.diagnosis.parts", "spanloom.diagnosis.rules", "spanloom.diagnosis.verdict"),
    *(
        "spanloom.diagnosis.watch.client",
        "spanloom.diagnosis.watch.dump",
        "spanloom.diagnosis.watch.reading",
        "spanloom.diagnosis.watch.threads",
        "spanloom.diagnosis.watch.verdict",
    ),
    # what an empty script has nothing for
    *("opentelemetry", "pkgutil", "tqdm", "spanloom.compat", "spanloom.evaluation", "spanloom.handlers.otel"),
    *("spanloom.concurrency.engine", "spanloom.concurrency.limits", "spanloom.concurrency.runner"),
    *("spanloom.events.codec", "spanloom.instrument.limiting", "spanloom.instrument.tracing"),
    *(
        "spanloom.processing",
        "spanloom.redaction._encoded",
        "spanloom.redaction._telling",
        "spanloom.store.checkpoint",
        "spanloom.store.reader",
    ),
    # what takes as long as a tenth of the start each, to patch libraries or to read records
    *("email", "importlib.metadata", "json", "lzma", "random", "shutil", "tempfile", "wrapt", "zipfile"),
)
"""Modules that the start of a program does without, and packages with all that is in them."""
MODULES = 150
"""Of ours; when this was written there were 140."""


def loaded(folder: Path, program: str, *command: str) -> set[str]:
    """Return the modules that a program finds loaded, which prints them."""
    (folder / "program.py").write_text(f"{program}\nimport sys; print(sorted(sys.modules))", encoding="utf-8")
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SPANLOOM_", "COV_", "COVERAGE_"))
    }
    done = subprocess.run(
        [sys.executable, *command, "program.py"],
        cwd=folder,
        env=clean,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=True,
    )
    return set(ast.literal_eval(done.stdout))


def test_a_program_starts_without_what_it_may_never_need(tmp_path: Path) -> None:
    """Each would take a part of a millisecond or several, of every program, however short."""
    found = loaded(tmp_path, "", "-m", "spanloom", "run")
    assert "spanloom.diagnosis.watch.watcher" in found  # it is recorded, and watched
    assert "spanloom.handlers.record" in found
    assert (
        sorted(
            name for name in found if name.startswith(tuple(f"{each}." for each in ABSENT)) or name in ABSENT
        )
        == []
    )


def test_what_a_start_has_loaded_is_not_looked_through_again(tmp_path: Path) -> None:
    """It stays to the end: the garbage collector, which is as it was, looks at what the program makes only."""
    (tmp_path / "program.py").write_text(
        "import gc; print(gc.isenabled(), gc.get_threshold()[0], gc.get_freeze_count() > 10_000)"
    )
    done = subprocess.run(
        [sys.executable, "-m", "spanloom", "run", "program.py"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=True,
    )
    assert done.stdout.split() == ["True", str(gc.get_threshold()[0]), "True"]


@pytest.mark.parametrize("options", [(), ("--deep",)])
def test_the_collector_looks_through_nothing_while_the_command_loads(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """It is all there to the end. Python itself begins with some collections before, one for each 700 objects."""
    (tmp_path / "program.py").write_text(
        "import gc; print(sum(each['collections'] for each in gc.get_stats()), gc.isenabled())"
    )
    said = []
    for command in (("-m", "program"), ("-m", "spanloom", "run", *options, "program.py")):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT_S,
            check=True,
        )
        collections, is_on = done.stdout.split()
        assert is_on == "True"
        said.append(int(collections))
    assert said[1] - said[0] < 10, said  # while it was on there were some 35 more


@pytest.mark.parametrize(
    ("argv", "original", "expected"),
    [
        (["-m"], ["python", "-m", "spanloom"], True),
        (["-m", "run", "a.py"], ["python", "-X", "dev", "-m", "spanloom", "run", "a.py"], True),
        (["-m", "ls"], ["python", "-mspanloom", "ls"], True),
        (["/venv/bin/spanloom", "ls"], ["/venv/bin/python", "/venv/bin/spanloom", "ls"], True),
        (["-m", "spanloom"], ["python", "-m", "own", "spanloom"], False),
        (["/home/me/spanloom"], ["python", "/home/me/spanloom"], False),
        (["-c"], ["python", "-c", "import spanloom"], False),
        ([""], ["python"], False),
    ],
)
def test_only_the_command_stops_the_collector(argv: list[str], original: list[str], expected: bool) -> None:
    """A program that imports spanloom, whatever it is called, has the collector as it had it."""
    assert is_command(argv, original, "/venv/bin/python") is expected


def test_the_number_of_modules_of_a_start_is_bounded(tmp_path: Path) -> None:
    """A fifth of a millisecond each: who adds some for a feature of few programs loads them when it is used."""
    found = sorted(
        name for name in loaded(tmp_path, "", "-m", "spanloom", "run") if name.startswith("spanloom")
    )
    assert len(found) <= MODULES, found


WORDS = st.sampled_from(
    [
        "run",
        "-m",
        "-mfetch",
        "fetch",
        "fetch.py",
        "--",
        "-",
        "",
        "--deep",
        "--record",
        "-v",
        "--help",
        "top",
        "-x",
    ]
)


@given(st.lists(WORDS, max_size=4))
def test_the_short_way_means_what_the_long_one_does(args: list[str]) -> None:
    """What is run without click is what click would have run, with every option at its default."""
    plain = without_options(["run", *args])
    if plain is None:
        return
    context = run.make_context("run", list(args))
    given = context.params
    assert (given.pop("module_name"), given.pop("arguments")) == plain
    options = signature(launch).parameters.values()
    assert given == {option.name: option.default for option in options if option.kind is option.KEYWORD_ONLY}


@pytest.mark.parametrize(
    "line",
    [
        *(
            "",
            "run",
            "run --help",
            "run -h",
            "run --deep a.py",
            "run -m",
            "run -m -x",
            "run -- a.py",
            "run -ma",
        ),
        *("ls", "--version", "top a.py", "-h run a.py"),
    ],
)
def test_everything_else_is_parsed(line: str) -> None:
    """Options, help, mistakes and the other commands go the long way."""
    assert without_options(line.split()) is None


def test_the_short_way_is_taken_for_most_runs() -> None:
    """A script and a module, with whatever arguments of theirs."""
    assert without_options(["run", "a.py", "--deep", "-m", "b"]) == (None, ("a.py", "--deep", "-m", "b"))
    assert without_options(("run", "-m", "a.b", "--", "c")) == ("a.b", ("--", "c"))


def test_options_do_the_same_as_ever(tmp_path: Path) -> None:
    """With an option click is loaded, and the program has the same arguments and the same record."""
    found = loaded(tmp_path, "", "-m", "spanloom", "run", "--record", "other.db")
    assert "click" in found
    assert (tmp_path / "other.db").exists()


def test_a_script_that_cannot_be_looked_for_is_one_line(tmp_path: Path) -> None:
    """What goes wrong on the short way is said by the long one: here, that the current folder is gone."""
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", 'rmdir ../gone && exec "$0" -m spanloom run program.py', sys.executable],
        cwd=gone,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "Error: No such file or directory\n")


def test_ctrl_c_while_the_script_is_read(tmp_path: Path) -> None:
    """A script may be a pipe that nothing comes out of: the command ends without a word, as shells have it."""
    pipe = tmp_path / "program.py"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "spanloom", "run", "program.py"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        try:
            with pipe.open("wb"):  # which waits until it is opened for reading
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert (process.returncode, said) == (130, b"")
