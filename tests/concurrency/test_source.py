"""Where jobs come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from spanloom.concurrency.source import Source


async def job() -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("items", "total"), [([1, 2], 2), ((), 0), (range(5), 5), ({1: 2}, 1), (iter([1]), None)]
)
def test_the_total_is_known_where_it_can_be(items: Any, total: int | None) -> None:
    """Collections know how many they are, iterators do not."""
    assert Source.of(items).total == total


def test_looking_at_a_source_consumes_nothing() -> None:
    """A generator has not run a step after a Source was made of it."""
    steps: list[int] = []

    def items() -> Iterator[int]:
        steps.append(1)
        yield 1

    source = Source.of(items())
    assert steps == []
    assert list(source.sync or ()) == [1]


def no_future(future: Any) -> None:
    """There are only coroutines."""
    raise AssertionError(future)


def test_a_long_rest_is_closed_bit_by_bit() -> None:
    """Closing 5,000 coroutines takes three calls, between which the loop may run."""
    jobs = [job() for _ in range(5000)]
    source = Source.of(jobs)
    assert [source.close_some(no_future) for _ in range(3)] == [False, False, True]
    assert all(coroutine.cr_frame is None for coroutine in jobs)


def test_items_of_a_function_are_left_alone() -> None:
    """What a function would have been called with is not walked through after a failure."""
    source = Source.of([1, 2, 3], jobs=False)
    assert source.close_some(no_future)
    assert list(source.sync or ()) == [1, 2, 3]


def test_only_coroutines_that_have_not_started_are_closed() -> None:
    """Of a list the unstarted rest is closed; a generator's coroutines are its own affair."""
    rest = [job(), job()]
    source = Source.of([job(), *rest])
    assert source.sync is not None
    first: Any = next(source.sync)
    assert source.close_some(no_future)
    assert [coroutine.cr_frame for coroutine in rest] == [None, None]
    assert first.cr_frame is not None
    first.close()

    generated = Source.of(coroutine for coroutine in [job()])
    assert generated.close_some(no_future)
    assert generated.sync is not None
    left: Any = next(generated.sync)
    assert left.cr_frame is not None
    left.close()


@pytest.mark.parametrize(
    ("items", "message"),
    [(3, "things must be an iterable or async iterable, not int"), (None, "not NoneType")],
)
def test_what_cannot_be_iterated_is_refused(items: Any, message: str) -> None:
    """The message names the caller's parameter."""
    with pytest.raises(TypeError, match=message):
        Source.of(items, "things")
