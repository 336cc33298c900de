"""What jobs are called."""

from __future__ import annotations

import functools

from spanloom.concurrency.names import bare_name, name_of


async def job() -> None:
    """Do nothing."""


class Fetcher:
    async def fetch(self) -> None:
        """Do nothing."""

    async def __call__(self) -> None:
        """Do nothing."""


def test_a_job_is_called_what_its_author_calls_it() -> None:
    """The qualified name, without where a local function was defined; partials are looked through."""

    async def local() -> None:
        """Do nothing."""

    coroutine = job()
    coroutine.close()
    assert name_of(job) == "job"
    assert name_of(coroutine) == "job"
    assert name_of(local) == "local"
    assert name_of(Fetcher().fetch) == "Fetcher.fetch"
    assert name_of(Fetcher()) == "Fetcher"
    assert name_of(functools.partial(functools.partial(job), 1)) == "job"
    assert name_of(3) is None


def test_a_name_is_told_without_where_it_was_made() -> None:
    """What a class or function was defined in is left out, however deep; the class that a method is of stays."""
    assert bare_name("main.<locals>.build.<locals>.Shop.sell") == "Shop.sell"
    assert bare_name("Shop.sell") == "Shop.sell"
