from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.handlers.otel_setup import Setup


@pytest.fixture
def otel() -> Iterator[Setup]:
    """A manager whose spans end in memory."""
    setup = Setup()
    yield setup
    setup.manager.close()
