"""stamina: decorated functions, blocks and callers are retries, by its own name and once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from spanloom import current_event
from spanloom.testing import EventCapture
from tests.instrument.targets.flaky import Flaky, retried
from tests.instrument.targets.patching import patched

WAITS = {"wait_initial": 0.001, "wait_max": 0.001, "wait_jitter": 0.0}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Have stamina call no hook that logs."""
    set_on_retry_hooks([])
    yield
    set_on_retry_hooks(None)


@pytest.fixture(params=[["stamina"], ["tenacity", "stamina"]], ids="+".join)
def captured(request: pytest.FixtureRequest) -> Iterator[EventCapture]:
    """The events while stamina is patched, alone and with tenacity, which it is made of."""
    with patched(*request.param) as captured:
        yield captured


async def test_a_decorated_function_is_a_retry(captured: EventCapture) -> None:
    """Each call is one event with its attempts and back-offs, named for the function."""
    flaky = Flaky(3)

    @stamina.retry(on=ConnectionError, **WAITS)
    async def fetch() -> int:
        return flaky()

    assert await fetch() == 3
    assert captured.tree() == retried("fetch", 2)
    assert current_event() is None


@stamina.retry(on=ConnectionError, attempts=2, **WAITS)
def read() -> int:
    raise ConnectionError


def test_a_function_that_gives_up_has_the_last_error(captured: EventCapture) -> None:
    """A function of a module has its name without that of the module, and ends with its own error."""
    with pytest.raises(ConnectionError):
        read()
    assert captured.tree() == retried("read", 1, "error ConnectionError", "error ConnectionError")


async def test_a_block_is_a_retry_of_the_function_it_is_in(captured: EventCapture) -> None:
    """A loop over attempts, which has no name itself, has that of its function; both kinds of it."""

    async def load() -> int:
        flaky = Flaky(2)
        for attempt in stamina.retry_context(on=ConnectionError, **WAITS):
            with attempt:
                flaky()
        flaky = Flaky(2)
        async for attempt in stamina.retry_context(on=ConnectionError, **WAITS):
            with attempt:
                return flaky()
        raise AssertionError

    assert await load() == 2
    assert captured.tree() == "\n".join([retried("load", 1)] * 2)


def test_hooks_of_the_program_stay(captured: EventCapture) -> None:
    """The hooks that a program sets are its own, and are called as they were."""
    seen: list[int] = []
    set_on_retry_hooks([lambda details: seen.append(details.retry_num)])
    flaky = Flaky(3)
    stamina.RetryingCaller(**WAITS)(ConnectionError, flaky)
    assert seen == [1, 2]
    assert len(get_on_retry_hooks()) == 1
    assert [event.type for event in captured.started].count("backoff") == 2


def test_tenacity_alone_leaves_stamina_alone() -> None:
    """Who asks for tenacity's retries does not get stamina's, which are another target."""
    with patched("tenacity") as captured, pytest.raises(ConnectionError):
        read()
    assert captured.started == []
