"""Ctrl-C while an event is being written where it ends."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from spanloom import CallbackManager
from spanloom.handlers.record import RecordHandler
from spanloom.store.reader import StoreReader
from spanloom.store.writer import RunWriter


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_is_raised_after_the_event_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With durability="event", Ctrl-C neither gets lost nor cuts a transaction in two; the recording goes on."""
    write, file = RunWriter.write, tmp_path / "runs.db"
    press = [False, True, False, True, False]

    def interrupted(self: RunWriter, *arguments: Any, **options: Any) -> bool:
        done = write(self, *arguments, **options)
        if press and press.pop(0):
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(100_000))  # Python looks for signals now and then
        return done

    with CallbackManager([RecordHandler(file, durability="event")]) as manager:
        monkeypatch.setattr(RunWriter, "write", interrupted)
        raised = []
        for number in range(5):
            try:
                with manager.event(name=f"event {number}"):
                    pass
            except KeyboardInterrupt:
                raised.append(number)
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        (stats,) = manager.stats().handlers
    assert raised == [1, 3]
    assert (stats.errors, stats.quarantined) == (0, False)
    with StoreReader(file) as store:
        (run,) = store.runs()
        assert [record.name for record in store.records(run)] == [f"event {number}" for number in range(5)]
