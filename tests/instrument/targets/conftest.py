from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.instrument.targets.web import web


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of a web server."""
    with web() as address:
        yield address
