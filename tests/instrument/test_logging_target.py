"""What a program logs lies under the job that logs it, on request; the program does not notice."""

from __future__ import annotations

import asyncio
import io
import logging
import logging.config
from collections.abc import Iterator

import pytest

import spanloom
from spanloom import CallbackManager
from tests.instrument.conftest import tree


@pytest.fixture
def logs(manager: CallbackManager) -> CallbackManager:
    spanloom.instrument("asyncio", "logging")
    return manager


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger without handlers, as a program finds it."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    logger.handlers[:] = []
    yield logger
    logger.handlers[:] = before
    logger.setLevel(level)


LOGGER = logging.getLogger("program.part")


class Odd:
    def __str__(self) -> str:
        raise LookupError("cannot be shown")


async def worker(number: int) -> None:
    LOGGER.info("not wanted by the program")
    LOGGER.warning("begins %d", number)
    await asyncio.sleep(0)
    try:
        raise KeyError(number)
    except KeyError:
        LOGGER.exception("failed")


async def both() -> None:
    await asyncio.gather(worker(0), worker(1))


async def test_lines_lie_under_the_job_that_logs_them(logs: CallbackManager) -> None:
    """Those that its loggers let through, with level, text and the type of an exception."""
    LOGGER.warning("outside of any event")
    await both()
    assert tree(logs) == [
        "batch worker ok",
        *["  job worker ok", "    log program.part ok", "    log program.part ok"] * 2,
    ]
    assert logs.recorder is not None
    lines = [dict(event.payload) for event in logs.recorder.ended() if event.type == "log"]
    assert lines == [
        {"level": "WARNING", "message": "begins 0"},
        {"level": "WARNING", "message": "begins 1"},
        *[{"level": "ERROR", "message": "failed", "error": "KeyError"}] * 2,
    ]


async def test_a_job_keeps_a_bounded_number_of_lines(logs: CallbackManager) -> None:
    """The first fifty; the job tells how many were left out."""

    async def talkative() -> None:
        for number in range(60):
            LOGGER.warning("line %d", number)

    await asyncio.gather(talkative())
    assert logs.recorder is not None
    events = logs.recorder.ended()
    assert len([event for event in events if event.type == "log"]) == 50
    (job,) = [event for event in events if event.type == "job"]
    assert job.payload["logs_left_out"] == 10


def test_a_program_logs_as_it_did(manager: CallbackManager, root: logging.Logger) -> None:
    """`basicConfig` finds no handler, ``dictConfig`` takes none out, filters and levels are the program's own."""
    written = io.StringIO()

    def program() -> str:
        root.handlers[:] = []
        assert not logging.getLogger("program").hasHandlers()
        logging.basicConfig(level=logging.INFO, stream=written, format="%(name)s %(funcName)s %(message)s")
        LOGGER.info("by basicConfig")
        quiet = {"version": 1, "disable_existing_loggers": False, "root": {"level": "ERROR"}}
        logging.config.dictConfig(quiet)
        LOGGER.warning("by dictConfig")
        said = written.getvalue()
        written.seek(0)
        written.truncate()
        return said

    expected = program()
    spanloom.instrument("logging")
    with manager.event("step"):
        assert program() == expected
    spanloom.uninstrument()
    assert program() == expected
    assert tree(manager) == ["step step ok", "  log program.part ok"]


def test_a_line_that_cannot_be_shown_is_complained_of_once(
    logs: CallbackManager, root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the program's own handler; where it has none that would write it, by nobody."""
    root.handlers[:] = []  # pytest's own
    with logs.event("step"):
        LOGGER.warning("%s", Odd())
        root.addHandler(logging.NullHandler())
        LOGGER.warning("%s", Odd())
    assert capsys.readouterr().err.count("cannot be shown") == 2  # what raised, and what is said of it
    assert tree(logs) == ["step step ok"]


def test_it_is_patched_on_request_only(manager: CallbackManager) -> None:
    """`instrument` without names leaves it alone: what a program logs may be of its users."""
    spanloom.instrument()
    assert "logging" not in spanloom.instrumented()
    spanloom.instrument("logging")
    assert "logging" in spanloom.instrumented()
