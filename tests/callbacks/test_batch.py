"""The scope of a batch: its jobs reach whoever asked for them, once each."""

from __future__ import annotations

from typing import Any

import pytest

from spanloom import CallbackManager, run_jobs, use_callback_manager


class Ends:
    """Keeps the jobs that ended."""

    wants = frozenset({"job"})

    def __init__(self) -> None:
        self.indexes: list[int | None] = []

    def on_event_end(self, event: Any) -> None:
        self.indexes.append(event.job_index)


@pytest.mark.parametrize("recorder", [0, 10])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
async def test_every_handler_and_the_recorder_get_every_job_once(count: int, recorder: int) -> None:
    """However many listen, beside the flight recorder or without it."""

    async def job() -> None:
        pass

    handlers = [Ends() for _ in range(count)]
    manager = CallbackManager(handlers, recorder=recorder)
    with use_callback_manager(manager):
        await run_jobs([job] * 3, workers=1)
    assert [handler.indexes for handler in handlers] == [[0, 1, 2]] * count
    recorded = [] if manager.recorder is None else manager.recorder.ended()
    assert [event.job_index for event in recorded if event.type == "job"] == ([0, 1, 2] if recorder else [])
    assert manager.stats().delivered == 3 * count
