"""The hooks and fixtures. Every pytest in the environment imports this file, so it imports nothing but pytest.

Theory of operation. What spanloom does is loaded when a test has asked for it: by a fixture of ours, or by importing
spanloom, which puts it into ``sys.modules``. A test that does neither runs as it did before the plugin was installed.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from spanloom.testing import EventCapture

__all__: list[str] = []

LEAKS: Final = "no_leaked_tasks"
"""The fixture that is a check."""


def pytest_load_initial_conftests(parser: pytest.Parser) -> None:
    """Add our option, after all other plugins have added theirs: dotevals has one of this name, and its meaning."""
    group = parser.getgroup("spanloom")
    try:
        group.addoption(
            "--concurrent",
            action="store_true",
            default=False,
            help="Run asynchronous evaluations (spanloom.evaluation) of a module at the same time.",
        )
    except ValueError:
        pass  # theirs serves as well


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, object, object]:
    """Have evaluations selected as dotevals' are, and neighbours run at the same time, if that is asked for.

    The latter not in a process of pytest-xdist: it collects all tests, and does not know which of them another one
    will run.
    """
    if "spanloom.compat.dotevals" in sys.modules:
        from pytest_spanloom.dotevals import mark, unmark

        marked = mark(config, items)
        result = yield
        unmark(marked)
    else:
        result = yield
    if (
        "spanloom.evaluation" in sys.modules
        and config.getoption("concurrent", False)
        and not hasattr(config, "workerinput")
    ):
        from pytest_spanloom.evaluations import prepare

        prepare(items, apart=LEAKS)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Get a test ready that uses us."""
    if "spanloom.evaluation" in sys.modules:
        from pytest_spanloom.evaluations import begin

        begin(item)
    if LEAKS in getattr(item, "fixturenames", ()):
        from pytest_spanloom.leaks import watch

        watch(item)


@pytest.hookimpl
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an asynchronous evaluation that no other plugin runs: pytest itself runs no coroutines."""
    if "spanloom.evaluation" not in sys.modules:
        return None
    from pytest_spanloom.evaluations import call

    return call(pyfuncitem)


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what the evaluations came to."""
    if "pytest_spanloom.evaluations" in sys.modules:
        from pytest_spanloom.evaluations import summarize

        summarize(terminalreporter, config)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Generator[None, Any, Any]:
    """Be there when pytest-timeout ends a test, while what hangs still hangs."""
    result = yield
    if "spanloom.callbacks" in sys.modules:
        from pytest_spanloom.timeouts import start

        start(item, settings)
    return result


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    """The test has ended in time."""
    if "pytest_spanloom.timeouts" in sys.modules:
        from pytest_spanloom.timeouts import cancel

        cancel(item)


@pytest.fixture
def spanloom(request: pytest.FixtureRequest) -> Iterator[EventCapture]:
    """The events of the test, of all managers: ``events``, ``started``, ``open``, ``tree()``, ``assert_tree(text)``.

    Their ids are the same in every run of the test.
    """
    from zlib import crc32

    from spanloom.testing import capture_everywhere

    with capture_everywhere(seed=crc32(request.node.nodeid.encode())) as captured:
        yield captured


@pytest.fixture
def no_leaked_tasks() -> None:
    """Fail an ``async`` test that passes and leaves tasks behind; the message says where they are."""
