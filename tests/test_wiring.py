"""The environment's words become handlers; what it gets wrong becomes a warning, never a failure."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

import pytest

from spanloom import _wiring
from spanloom.callbacks import registry
from spanloom.handlers.debug import DebugHandler
from spanloom.handlers.progress import ProgressHandler
from tests.environments import run_program

PROGRAM = """
import asyncio
from spanloom import _wiring
from spanloom.callbacks import get_callback_manager
from spanloom.concurrency.map import async_map

async def job(number):
    await asyncio.sleep(0)
    return number

assert asyncio.run(async_map(job, range(3), desc="three")) == [0, 1, 2]
manager = get_callback_manager()
print([type(handler).__name__ for handler in manager.handlers if not type(handler).__name__.startswith("_")])
print(manager.recorder and manager.recorder.capacity, manager.deep)
"""


def run(program: str = PROGRAM, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_program(program, **variables)


def test_without_variables_there_is_a_recorder_and_no_handler() -> None:
    """The default prints nothing and records in memory."""
    done = run()
    assert done.stdout.splitlines() == ["[]", "4096 False"]
    assert done.stderr == ""


def test_handlers_are_switched_on_by_name() -> None:
    """Each name stands for its class, once, in the order given; blanks and empty names do not matter."""
    done = run(SPANLOOM_HANDLERS=" progress ,,debug,progress", SPANLOOM_RECORDER="7", SPANLOOM_DEEP="1")
    assert done.stdout.splitlines() == ["['ProgressHandler', 'DebugHandler']", "7 True"]


def test_progress_from_outside_writes_to_standard_error() -> None:
    """A program that knows nothing of progress shows it."""
    done = run(SPANLOOM_HANDLERS="progress")
    assert "three: 3/3 ok=3 failed=0 in " in done.stderr


def test_the_debug_table_is_printed_when_the_program_ends() -> None:
    """Nobody has a reference to this handler, so it shows by itself what it has found."""
    done = run(SPANLOOM_HANDLERS="debug")
    assert "batch" in done.stderr
    assert "job" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_debug_handler_that_has_seen_nothing_prints_nothing() -> None:
    """An empty table would only be noise."""
    program = "from spanloom import _wiring, callbacks\ncallbacks.get_callback_manager()"
    assert run(program, SPANLOOM_HANDLERS="debug").stderr == ""


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SPANLOOM_HANDLERS", "debg", ["debg", "debug, logging, otel, progress"]),
        ("SPANLOOM_RECORDER", "-1", ["SPANLOOM_RECORDER=-1", "0 or more", "4096"]),
        ("SPANLOOM_RECORDER", "many", ["SPANLOOM_RECORDER=many"]),
        ("SPANLOOM_RECORDER", "9" * 19, ["SPANLOOM_RECORDER=9999"]),
        ("SPANLOOM_RECORDER", "9" * 5000, ["SPANLOOM_RECORDER=9999"]),
        ("SPANLOOM_DEEP", "maybe", ["SPANLOOM_DEEP=maybe", "1 (on)", "0 (off)"]),
        ("SPANLOOM_STALL_AFTER", "soon", ["SPANLOOM_STALL_AFTER=soon", "seconds above 0"]),
        ("SPANLOOM_STALL_AFTER", "-1", ["SPANLOOM_STALL_AFTER=-1"]),
        ("SPANLOOM_STALL_AFTER", "inf", ["SPANLOOM_STALL_AFTER=inf"]),
    ],
)
def test_what_cannot_be_understood_is_warned_of_and_left_out(
    variable: str, value: str, said: list[str]
) -> None:
    """The warning says what was given and what is allowed; the program runs as without it."""
    done = run(**{variable: value})
    assert done.stdout.splitlines() == ["[]", "4096 False"]
    for words in said:
        assert words in done.stderr


STALLS = """
import asyncio, logging
import spanloom
BEFORE

class UntilSaid(logging.Handler):
    def emit(self, record):
        if "stood still" in record.getMessage():
            print(record.name, record.levelname, record.getMessage())
            loop.call_soon_threadsafe(main.cancel)

async def pay(account):
    async with account:
        async with account:
            pass

async def stall():
    global loop, main
    loop, main = asyncio.get_running_loop(), asyncio.current_task()
    logging.getLogger("spanloom").addHandler(UntilSaid())
    await spanloom.run_jobs([pay(asyncio.Lock())], desc="payments")

try:
    asyncio.run(stall())
except asyncio.CancelledError:
    pass
"""


@pytest.mark.parametrize(
    "before",
    ["", "from spanloom.diagnosis.watch import watch; watch(stall_after=0.6)"],
    ids=["alone", "code"],
)
def test_a_batch_that_stands_still_is_reported_if_the_environment_says_so(before: str) -> None:
    """With the reason, by the logger, of a program that does nothing for it; the time that code says goes before."""
    done = run(STALLS.replace("BEFORE", before), SPANLOOM_STALL_AFTER="3000" if before else "0.6")
    assert done.stdout.startswith("spanloom.diagnosis WARNING batch payments has stood still for ")
    assert "`pay[0]` waits at " in done.stdout
    assert "such a lock cannot be taken twice" in done.stdout


@pytest.mark.parametrize(
    ("value", "deep"), [("1", True), ("True", True), ("0", False), ("off", False), ("", False)]
)
def test_deep_takes_the_usual_words(value: str, deep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On is on, however it is spelled."""
    monkeypatch.setenv("SPANLOOM_DEEP", value)
    monkeypatch.delenv("SPANLOOM_HANDLERS", raising=False)
    assert _wiring.build_default_manager().deep is deep


def test_the_recorder_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero means none."""
    monkeypatch.setenv("SPANLOOM_RECORDER", "0")
    monkeypatch.delenv("SPANLOOM_HANDLERS", raising=False)
    assert _wiring.build_default_manager().recorder is None


def test_a_handler_that_cannot_be_made_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A constructor that raises is named in the log, and the other handlers work."""

    def broken() -> object:
        message = "no disk"
        raise OSError(message)

    real = _wiring.load_handler
    monkeypatch.setattr(_wiring, "load_handler", lambda name: broken if name == "broken" else real(name))
    monkeypatch.setenv("SPANLOOM_HANDLERS", "broken,progress")
    (handler,) = _wiring.build_default_manager().handlers
    assert isinstance(handler, ProgressHandler)
    assert "'broken'" in caplog.text
    assert "OSError: no disk" in caplog.text


def test_importing_reads_no_variable_and_loads_no_handler() -> None:
    """Reading happens when the default manager is first needed, so a program can set variables after the import."""
    program = """
import os, sys

class Watched(dict):
    def get(self, key, default=None):
        assert not key.startswith("SPANLOOM"), key
        return super().get(key, default)
    __getitem__ = get

real = os.environ
os.environ = Watched(real)
from spanloom import _wiring
os.environ = real
assert not [name for name in sys.modules if name.startswith(("spanloom.handlers", "tqdm", "opentelemetry"))]
os.environ["SPANLOOM_RECORDER"] = "5"
from spanloom.callbacks import get_callback_manager
assert get_callback_manager().recorder.capacity == 5
"""
    run(program)


def test_runners_find_handlers_by_name() -> None:
    """The layer of the callbacks knows no handler, but can ask for one."""
    assert registry.load_handler("progress") is ProgressHandler
    assert registry.load_handler("debug") is DebugHandler
    with pytest.raises(LookupError, match=r"no handler is called 'nobody'; there are: .*debug.*progress"):
        registry.load_handler("nobody")


def test_built_in_handlers_are_found_in_a_source_tree_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without package metadata there are no entry points, and the built-in names work all the same."""
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    _wiring.load_handler.cache_clear()
    assert _wiring.load_handler("progress") is ProgressHandler
    assert _wiring.handler_names() == ["debug", "logging", "otel", "progress", "record"]
    _wiring.load_handler.cache_clear()


def test_another_package_can_offer_a_handler(tmp_path: Path) -> None:
    """A name in the entry-point group of any installed package is as good as ours."""
    (tmp_path / "mine.py").write_text(
        "class Mine:\n    def on_event_end(self, event):\n        print(event.name)\n"
    )
    metadata = tmp_path / "mine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[spanloom.handlers]\nmine = mine:Mine\n")
    done = run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PROGRAM}", SPANLOOM_HANDLERS="mine")
    assert "three" in done.stdout
    assert "['Mine']" in done.stdout


def test_the_built_in_names_are_those_of_the_package() -> None:
    """The fallback table and the package's entry points say the same."""
    points = {
        point.name: point.value
        for point in importlib.metadata.entry_points(group="spanloom.handlers")
        if point.value.startswith("spanloom.")
    }
    assert points == _wiring._BUILT_IN
