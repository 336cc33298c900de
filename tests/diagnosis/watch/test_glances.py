"""Looks that nobody has asked for: when they are taken, and how much they may look at."""

from __future__ import annotations

from typing import Any

import pytest

from spanloom.callbacks.standing import Standing
from spanloom.diagnosis.budget import MOST, UNASKED
from spanloom.diagnosis.watch.process import _Watch
from spanloom.diagnosis.watch.stalls import Reporter


def test_the_first_glance_is_a_small_one() -> None:
    """It is taken five seconds after the start, and of objects there may be as many as its share of that pays for."""
    glances: list[int] = []

    def glance(objects: int) -> list[Any]:
        glances.append(objects)
        return []

    def find() -> list[Any]:
        raise AssertionError("nobody has asked")

    reporter = Reporter(find, list, stall_after_s=None, glance=glance)
    for now_s in (100.0, 104.0, 105.0):
        reporter(now_s)
    assert glances == [300]


@pytest.mark.parametrize(
    ("paid", "looked_at"), [(300, UNASKED), (2 * UNASKED, 2 * UNASKED), (10 * MOST, MOST)]
)
def test_a_glance_has_bounds(monkeypatch: pytest.MonkeyPatch, paid: int, looked_at: int) -> None:
    """At less nothing would be found in most programs, and more is what a look has that was asked for."""
    watch = _Watch(Standing(), stays=False)
    asked: list[int] = []

    def findings(objects: int) -> list[Any]:
        asked.append(objects)
        return []

    monkeypatch.setattr(watch.watcher, "findings", findings)
    watch.reporter._glance(paid)
    assert asked == [looked_at]
