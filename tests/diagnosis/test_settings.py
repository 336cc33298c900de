"""The interpreter's settings while there is a look."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest

from spanloom.diagnosis.settings import looking


@pytest.fixture(autouse=True)
def _as_they_were() -> Iterator[None]:
    """Put the settings back whatever a test has done."""
    threshold, interval_s = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval_s)


def _settings() -> tuple[tuple[int, int, int], float]:
    return gc.get_threshold(), sys.getswitchinterval()


def test_they_are_other_ones_in_the_block_and_as_before_after_it() -> None:
    """Nothing is promoted to the oldest generation, and threads take turns quickly; also nested, also if it raises."""
    (first, _, third), interval_s = before = _settings()
    with pytest.raises(ZeroDivisionError), looking():
        with looking():
            inside = _settings()
        assert _settings() == inside
        raise ZeroDivisionError
    assert inside[0][::2] == (first, third)
    assert inside[0][1] > 1_000_000
    assert inside[1] < interval_s / 5
    assert _settings() == before


def test_what_the_program_sets_meanwhile_stays() -> None:
    """What the program sets while somebody looks is what it has afterwards."""
    with looking():
        gc.set_threshold(800, 12, 11)
        sys.setswitchinterval(0.025)
    assert gc.get_threshold() == (800, 12, 11)
    assert sys.getswitchinterval() == pytest.approx(0.025)


def test_an_interval_that_is_shorter_already_is_left() -> None:
    """A program that wants its threads to take turns more often than a look does has what it wants, exactly."""
    sys.setswitchinterval(0.000_1)
    interval_s = sys.getswitchinterval()
    for _ in range(10):
        with looking():
            assert sys.getswitchinterval() == interval_s
    assert sys.getswitchinterval() == interval_s


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_has_them_as_they_were() -> None:
    """Who is forked while there is a look has nobody who would put the settings back."""
    before = _settings()
    with looking():
        child = os.fork()
        if not child:
            os._exit(0 if _settings() == before else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert _settings() == before
