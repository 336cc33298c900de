"""Evaluations as tests: run with their fixtures, failed by failed rows, and with ``--concurrent`` several at once.

Theory of operation. A decorated function looks to pytest like one whose parameters are the fixtures, and is collected
as such. When it is to be called, it is replaced by one that returns nothing, keeps the results, and fails if a row has.
If it is a coroutine function, whatever plugin runs coroutine functions runs it, in the loop in which that makes its
fixtures; if there is none, we do.

pytest has one test set up at a time. So with ``--concurrent``, the first of some neighbours to be called makes the
fixtures of all of them, runs all of them, and leaves to the others what became of them.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Any, Final, cast

import pytest

from pytest_spanloom.dotevals import asked
from spanloom import gather, run_sync
from spanloom.evaluation import Evaluation, evaluation_of

__all__ = ["begin", "call", "prepare", "summarize"]

WAYS_OUT: Final = (Exception, pytest.fail.Exception, pytest.skip.Exception)
"""What ends one test and no other; pytest's own are no `Exception`."""
BY_THEMSELVES: Final = ("parametrize", "skip", "skipif", "xfail", "usefixtures")
"""Marks of tests that have no neighbours."""
LOOPS: Final = ("asyncio", "anyio")
"""Marks that tell plugins which loop to run a test in."""
SHOWN: Final = 5
"""Failed rows that a failure names."""


class _Group:
    """Evaluations that run at the same time.

    Attributes:
        items: Their tests.
        became: By test, the results or what was raised, of those that have run.
        is_led: Whether one has begun to run all of them. If an exit or a timeout breaks that off, those that have not
            ended by then run by themselves.
    """

    def __init__(self, items: Sequence[pytest.Function]) -> None:
        self.items = items
        self.became: dict[str, Any] = {}
        self.is_led: bool = False


_group: pytest.StashKey[_Group] = pytest.StashKey()
_own: pytest.StashKey[Callable[..., Any]] = pytest.StashKey()
_lines: pytest.StashKey[list[str]] = pytest.StashKey()


def prepare(items: Sequence[pytest.Item], *, apart: str) -> None:
    """Have asynchronous evaluations that are neighbours run at the same time.

    Args:
        items: The tests, in order, after all selection.
        apart: A fixture whose tests run by themselves: it looks at all tasks.
    """

    def place(item: Any) -> tuple[bool, object, object]:
        return _is_free(item) and apart not in item.fixturenames, item.parent, _loop_of(item)

    for (is_free, *_), members in groupby(items, place):
        together: list[Any] = list(members)
        if not is_free or len(together) < 2:
            continue
        group = _Group(together)
        for item in together:
            item.stash[_group] = group
            own = _arguments(item)
            item.fixturenames = ["request", *(name for name in item.fixturenames if name not in own)]


def begin(item: Any) -> None:
    """Have an evaluation called as a test is, now that its fixtures are there."""
    evaluation = evaluation_of(getattr(item, "obj", None))
    if evaluation is None:
        return
    function = item.stash.setdefault(_own, item.obj)
    group = item.stash.get(_group, None)
    if group is not None and group.is_led and item.nodeid not in group.became:
        request: pytest.FixtureRequest = item.funcargs["request"]
        item.funcargs.update({name: request.getfixturevalue(name) for name in _arguments(item)})
        group = None
    if group is None:
        item.obj = _reporting(item, function, is_async=evaluation.is_async)
        if _is_of_unittest(item):
            setattr(item.instance, item.name, item.obj)  # pytest does so for plain functions only
    elif not group.is_led:
        item.obj = _leading(item, function, group)
    else:
        became = group.became[item.nodeid]
        if isinstance(became, pytest.FixtureLookupError):  # of the one that led, whose source it would show
            became = pytest.FixtureLookupError(became.argname, item.funcargs["request"], became.msg)
        item.funcargs.update(dict.fromkeys(_arguments(item)))

        @functools.wraps(function)
        async def follow(**_: Any) -> None:
            _settle(item, became)

        item.obj = follow


def call(item: pytest.Function) -> bool | None:
    """Run an asynchronous evaluation that is still a coroutine function by now; return whether there was one."""
    if evaluation_of(item.obj) is None or not inspect.iscoroutinefunction(item.obj):
        return None
    run_sync(item.obj(**{name: item.funcargs[name] for name in _arguments(item)}))
    return True


def summarize(reporter: Any, config: pytest.Config) -> None:
    """Write a line for each evaluation that has run.

    Args:
        reporter: pytest's terminal reporter.
        config: What the lines were kept with.
    """
    lines = config.stash.get(_lines, [])
    if lines:
        reporter.section("evaluations")
        for line in lines:
            reporter.line(line)


def _is_free(item: Any) -> bool:
    evaluation = evaluation_of(getattr(item, "obj", None))
    return (
        evaluation is not None
        and evaluation.is_async
        and getattr(item, "callspec", None) is None
        and not _is_of_unittest(item)
        and not any(item.get_closest_marker(mark) for mark in BY_THEMSELVES)
    )


def _is_of_unittest(item: Any) -> bool:
    """Tell whether unittest calls the test, and not pytest."""
    unittest = sys.modules.get("unittest")
    kind = getattr(item, "cls", None)
    return unittest is not None and kind is not None and issubclass(kind, unittest.TestCase)


def _loop_of(item: pytest.Item) -> list[tuple[object, ...]]:
    """Return what says in which event loop a test and its fixtures live: neighbours run in one."""
    return [(mark.name, mark.args, mark.kwargs) for mark in item.iter_markers() if mark.name in LOOPS]


def _arguments(item: Any) -> list[str]:
    """Return the fixtures that an evaluation is called with: of its parameters, those without a default."""
    function = item.stash.get(_own, item.obj)
    evaluation: Evaluation | None = evaluation_of(function)
    parameters = () if evaluation is None else evaluation.parameters[inspect.ismethod(function) :]
    return [
        each.name for each in parameters if each.kind is not each.VAR_KEYWORD and each.default is each.empty
    ]


def _reporting(item: pytest.Function, function: Callable[..., Any], *, is_async: bool) -> Callable[..., Any]:
    options = asked(item)
    if is_async:

        @functools.wraps(function)
        async def report_later(**given: Any) -> None:
            _settle(item, await function(**given, **options))

        return report_later

    @functools.wraps(function)
    def report(**given: Any) -> None:
        became = function(**given, **options)
        _settle(item, run_sync(became) if inspect.iscoroutine(became) else became)

    return report


def _leading(item: Any, function: Callable[..., Any], group: _Group) -> Callable[..., Any]:
    """Return what runs all of a group, and ends as `item` does."""
    request: pytest.FixtureRequest = item.funcargs["request"]
    calls: dict[str, Callable[[], Awaitable[Any]]] = {}
    without: dict[str, BaseException] = {}
    for member in group.items:
        try:
            given = {name: request.getfixturevalue(name) for name in _arguments(member)}
            options = asked(member)
        except WAYS_OUT as error:
            if member is item:
                raise  # the next one leads
            without[member.nodeid] = error
            continue
        if member is item:
            member.funcargs.update(given)
        calls[member.nodeid] = functools.partial(_of_leader(member.obj, item), **given, **options)

    @functools.wraps(function)
    async def lead(**_: Any) -> None:
        group.is_led = True
        group.became.update(without)
        await gather(*(_evaluate(group, name, run) for name, run in calls.items()))
        _settle(item, group.became[item.nodeid])

    return lead


def _of_leader(function: Any, leader: Any) -> Callable[..., Any]:
    """Return a method as one of the leader's object, which has been set up: each test of a class has its own."""
    if inspect.ismethod(function) and isinstance(leader.instance, type(function.__self__)):
        return cast("Callable[..., Any]", function.__func__.__get__(leader.instance))
    return cast("Callable[..., Any]", function)


async def _evaluate(group: _Group, name: str, run: Callable[[], Awaitable[Any]]) -> None:
    """Keep what an evaluation returns or raises."""
    try:
        group.became[name] = await run()
    except WAYS_OUT as error:  # raised by its own test
        group.became[name] = error


def _settle(item: pytest.Function, became: Any) -> None:
    """End a test as its evaluation has ended."""
    if isinstance(became, BaseException):
        raise became
    failed = [record for record in became.results if record.error is not None]
    for record in failed:
        if isinstance(record.error, pytest.exit.Exception):
            raise record.error  # it means the session, not the row
    item.config.stash.setdefault(_lines, []).append(f"{item.nodeid} - {became}")
    if not failed:
        return
    lines = [f"row {record.item_id}: {_text(record.error)}" for record in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"and {len(failed) - SHOWN} more")
    what = f"{len(failed)} of {len(became.results)} rows failed"
    pytest.fail("\n".join([what, *lines]), pytrace=False)


def _text(error: object) -> str:
    return f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
