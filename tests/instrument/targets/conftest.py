from __future__ import annotations

from collections.abc import Iterator

import pytest

from spanloom.events.http_names import RequestNames
from spanloom.instrument import exchange
from tests.instrument.targets.web import web


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of a web server."""
    with web() as address:
        yield address


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names for the hosts of this test alone: all servers of a run together would be too many for one process."""
    monkeypatch.setattr(exchange, "request_names", RequestNames())
