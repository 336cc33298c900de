"""What tests of several folders share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from tests.environments import without_ours

# An example that took 200 ms, or was long in the making, says only that the machine had other things to do.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

pytest_plugins = ["pytester"]

# A shell starts what it puts into the background (`make test &`) with Ctrl-C ignored, and `nohup` what it runs with
# SIGHUP ignored, which every child process inherits: the tests that send them would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no variable that changes what spanloom does, and no proxy for what listens here."""
    for name in os.environ.keys() - without_ours().keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Return a function that runs a program in a Python of its own, which has to succeed, and returns its output."""

    def run(program: str) -> str:
        clean = without_ours()
        done = subprocess.run(
            # From 3.12 on, Python warns of any fork of a process with threads. That it works is what is tested.
            [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", textwrap.dedent(program)],
            env=clean,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    return run
