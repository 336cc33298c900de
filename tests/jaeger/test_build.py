"""Building the servers: once, whole or not at all, and with a plain word to whoever lacks what it takes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.jaeger.conftest import DEADLINE_S
from tools.backends.server import ROOT, build

BUILD = ROOT / "tools" / "backends" / "build"


def run_build(program: str, cache: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script with a cache folder of its own and, if given, only the programs in `path`."""
    variables = {"XDG_CACHE_HOME": str(cache)} | ({} if path is None else {"PATH": str(path)})
    return subprocess.run(
        [BUILD, program], env=os.environ | variables, capture_output=True, text=True, check=False
    )


def folder_of_programs(folder: Path, go: str | None) -> Path:
    """Make a folder with what the script calls, and a ``go`` that runs the shell script `go`."""
    folder.mkdir()
    for name in ("sh", "cat", "cksum", "cp", "cut", "chmod", "mkdir", "mktemp", "mv", "rm", "sed", "sleep"):
        (folder / name).symlink_to(
            subprocess.run(
                ["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True
            ).stdout.strip()
        )
    if go is not None:
        (folder / "go").write_text(f"#!/bin/sh\n{go}\n")
        (folder / "go").chmod(0o755)
    return folder


@pytest.mark.parametrize("program", ["jaeger", "otelcol"])
def test_what_is_built_is_used_again(program: str) -> None:
    """A second call names the same file and starts no compiler; the file is the program."""
    first = build(program)
    before = first.stat().st_mtime_ns
    done = run_build(program, first.parents[1])
    assert (done.stdout, done.stderr) == (f"{first}\n", "")
    assert first.stat().st_mtime_ns == before
    shown = subprocess.run([first, "help"], capture_output=True, text=True, check=True).stdout
    assert f"{program} [command]" in shown


@pytest.mark.parametrize("program", ["jaeger", "otelcol"])
def test_without_go_the_message_says_what_to_install(program: str, tmp_path: Path) -> None:
    """Nothing is left behind, and nothing is named that could be taken for a program."""
    done = run_build(program, tmp_path / "cache", folder_of_programs(tmp_path / "bin", go=None))
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"{program} is built with Go" in done.stderr
    assert "install Go" in done.stderr
    assert not (tmp_path / "cache").exists()


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """The exit status says so, the compiler's own words are shown, and the cache folder is empty."""
    path = folder_of_programs(tmp_path / "bin", go="echo no disk space >&2; exit 3")
    done = run_build("otelcol", tmp_path / "cache", path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "no disk space" in done.stderr
    assert list((tmp_path / "cache" / "spanloom").iterdir()) == []


def test_a_build_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    """After Ctrl-C in the middle of a build, the next one begins anew."""
    path = folder_of_programs(tmp_path / "bin", go="echo started >&2; exec sleep 600")
    process = subprocess.Popen(
        [BUILD, "otelcol"],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PATH": str(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    deadline = time.monotonic() + DEADLINE_S
    while process.stderr.readline() != "started\n":
        assert time.monotonic() < deadline
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(DEADLINE_S) != 0
    process.communicate()
    assert list((tmp_path / "spanloom").iterdir()) == []


def test_an_unknown_program_is_refused(tmp_path: Path) -> None:
    """The message tells what there is."""
    done = run_build("prometheus", tmp_path)
    assert done.returncode == 2
    assert "tools/backends/build otelcol" in done.stderr
