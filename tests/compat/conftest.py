"""What is left of a module of tests when it has ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spanloom.callbacks.everywhere import EVERYWHERE
from spanloom.compat._llama_index.manager import CallbackManager
from spanloom.compat._llama_index.relay import OWNERS, stop_idle_relay


@pytest.fixture(autouse=True, scope="module")
def no_handler_of_the_process_is_left() -> Iterator[None]:
    """Jobs are relayed as long as somebody listens, and no longer."""
    before = EVERYWHERE.guards
    yield
    for owner in list(OWNERS):
        assert isinstance(owner, CallbackManager)
        owner.set_handlers(())
    assert stop_idle_relay()
    assert EVERYWHERE.guards == before
