"""Ids of runs, shortened."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

__all__ = ["short_id", "short_ids"]

_DIGITS: Final = 8
"""Digits that are enough to tell an id from others, as a rule, and short enough to type."""


def short_id(run_id: str) -> str:
    """Return the start of an id that stands by itself."""
    return run_id[:_DIGITS]


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Return the start of each id that tells it from the others, at least eight digits."""
    distinct = sorted(set(ids))
    lengths = dict.fromkeys(distinct, _DIGITS)
    for first, second in pairwise(distinct):
        same = next(
            (at for at, pair in enumerate(zip(first, second, strict=False)) if len(set(pair)) > 1), 32
        )
        for id in (first, second):
            lengths[id] = max(lengths[id], same + 1)
    return {id: id[:length] for id, length in lengths.items()}
