"""What an evaluation comes to."""

from __future__ import annotations

import errno
import math
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import openai
import pytest

from spanloom.evaluation import (
    DEFAULT_RETRIES,
    EvaluationRecord,
    EvaluationResults,
    Summary,
    is_connection_error,
)


def results(*values: Any) -> EvaluationResults:
    """Return results in which exceptions are errors."""
    return EvaluationResults(
        "sample",
        [
            EvaluationRecord(
                number,
                {},
                None if isinstance(value, Exception) else value,
                value if isinstance(value, Exception) else None,
                "error" if isinstance(value, Exception) else "ok",
                1,
                0.0,
            )
            for number, value in enumerate(values)
        ],
    )


def test_numbers_have_a_mean_and_a_count() -> None:
    """True counts as 1; failed rows are left out, or count as what is said."""
    found = results(True, False, 1, 0.5, ValueError("x"))
    assert found.count == len(found) == 5
    assert found.summary() == {"value": Summary(4, 0.625)}
    assert found.mean() == 0.625
    assert found.mean(failed=0) == 0.5
    assert found.values == [True, False, 1, 0.5]


def test_numbers_beyond_all_floats_do_not_lose_the_results() -> None:
    """Their mean is infinite, or no number; the records are there."""
    assert results(10**400, 1).mean() == math.inf
    assert results({"score": -(10**400)}).mean() == -math.inf
    assert results(1e308, 1e308).mean() == math.inf
    assert str(results(math.inf, -math.inf)) == "2 rows, 0 failed, mean nan"


def test_numbers_of_others_are_scores_too() -> None:
    """Fractions, decimals, and what numpy makes of a comparison or a mean."""
    assert results(Fraction(1, 2), Decimal("0.25"), True).summary() == {"value": Summary(3, 1.75 / 3)}
    assert math.isnan(results(Decimal("sNaN")).mean() or 0)
    numpy = pytest.importorskip("numpy")
    found = results(numpy.float32(0.5), numpy.int64(1), numpy.bool_(True), {"right": numpy.bool_(False)})
    assert found.summary() == {"value": Summary(3, 2.5 / 3), "right": Summary(1, 0.0)}
    assert results(numpy.zeros(3), numpy.complex64(1), numpy.str_("7")).summary() == {}


def test_mappings_and_objects_have_scores_by_name() -> None:
    """A mapping has a score for each number; an object has its `scores`."""
    score = SimpleNamespace(name="exact", value=True)
    found = results({"exact": 0, "note": "text"}, {"exact": 1, "f1": 0.5}, SimpleNamespace(scores=[score]))
    assert found.summary() == {"exact": Summary(3, 2 / 3), "f1": Summary(1, 0.5)}
    assert found.mean("f1") == 0.5
    with pytest.raises(KeyError, match="no score 'value', but 'exact', 'f1'"):
        found.mean()


@pytest.mark.parametrize("values", [(), ("text", None), (ValueError("x"),)])
def test_without_numbers_there_is_no_mean(values: Any) -> None:
    """``None`` stands for a mean of nothing."""
    assert results(*values).mean() is None
    assert results(*values).summary() == {}


def test_failed_rows_alone_have_a_mean_if_they_count() -> None:
    """What a failed row counts as is the mean of nothing else."""
    assert results(ValueError("x")).mean(failed=0) == 0


def test_results_as_text() -> None:
    """The text is for people: rows, failures, means."""
    found = results(1, 0, ValueError("x"))
    assert str(found) == "3 rows, 1 failed, mean 0.5"
    assert repr(found) == "<EvaluationResults sample: 3 rows, 1 failed, mean 0.5>"
    assert str(results({"f1": 0.25})) == "1 rows, 0 failed, mean f1 0.25"


def test_errors_can_be_raised_together() -> None:
    """`raise_errors` is for programs that must not go on; it raises the very objects."""
    first, second = ValueError("a"), KeyError("b")
    with pytest.raises(ExceptionGroup, match="sample: 2 of 3 rows failed") as caught:
        results(first, 1, second).raise_errors()
    assert caught.value.exceptions == (first, second)
    results(1).raise_errors()


class NamesakeError(Exception):
    """Is called like a connection error of httpx, and is none."""


NamesakeError.__name__ = "TransportError"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OSError(errno.EHOSTUNREACH, "no route"), True),
        (OSError("the network is down"), True),
        (httpx.ConnectError("x"), True),
        (httpx.ReadTimeout("x"), True),
        (aiohttp.ServerDisconnectedError(), True),
        (openai.APITimeoutError(httpx.Request("GET", "http://localhost")), True),
        (FileNotFoundError(2, "x"), False),
        (PermissionError("x"), False),
        (OSError(errno.ENOSPC, "full"), False),
        (httpx.InvalidURL("x"), False),
        (NamesakeError(), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_connection_errors_are_told_from_others(error: Exception, expected: bool) -> None:
    """Python's own, and those of clients by name; a missing file or a bug is none."""
    assert is_connection_error(error) is expected
    assert (DEFAULT_RETRIES.pause_after(error, 1) is not None) is expected
