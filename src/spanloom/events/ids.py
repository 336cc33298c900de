"""Identifiers: 64-bit event ids and 128-bit trace ids as W3C Trace Context defines them.

The ids must be unique, not secret, so they come from a Mersenne Twister seeded with the operating
system's entropy: 0.05 us an id instead of 0.4 (``os.urandom``) or 2.8 (``uuid4``).
"""

from __future__ import annotations

import _random
import os
from collections.abc import Callable, Iterable
from typing import Final

__all__ = [
    "MASK",
    "STRIDE",
    "base_of",
    "event_id_at",
    "index_in",
    "new_event_id",
    "new_trace_id",
    "random_bits",
    "reseed",
    "signed_ids_at",
]

MASK: Final = (1 << 64) - 1
STRIDE: Final = 0x9E3779B97F4A7C15
"""Difference between consecutive ids of a range. Odd, so multiplication by it is a bijection on 64 bits: the ids of one
range never collide and do not look like a sequence. 2**64 / golden ratio (Knuth, TAOCP vol. 3, 6.4)."""

_SIGN: Final = 1 << 63
_INVERSE: Final = pow(STRIDE, -1, 1 << 64)

# The base class of `random.Random` has all that is needed here; the module `random` takes a millisecond to import.
_generator = _random.Random()
random_bits: Callable[[int], int] = _generator.getrandbits
"""``random_bits(64) or new_event_id()`` is `new_event_id` without a Python call, for code that runs once per event."""


def new_event_id() -> int:
    """Return a fresh event id: 1 <= id < 2**64 (zero is invalid in W3C Trace Context)."""
    return random_bits(64) or new_event_id()


def new_trace_id() -> int:
    """Return a fresh trace id: 1 <= id < 2**128."""
    return random_bits(128) or new_trace_id()


def event_id_at(base: int, index: int) -> int:
    """Return the id of item `index` (from 0) of the range of ids that starts at `base`.

    The jobs of a batch share one random base, so that no job pays for an id of its own.
    Never returns 0; the one index that would map to it takes `base` with its top bit flipped.
    """
    return (base + (index + 1) * STRIDE) & MASK or base ^ (1 << 63)


def signed_ids_at(base: int, indexes: Iterable[int]) -> list[int]:
    """Return ``event_id_at(base, index)`` for each of `indexes`, as signed 64-bit numbers, each less 2**63."""
    first = base + STRIDE + _SIGN
    ids = [((first + index * STRIDE) & MASK) - _SIGN for index in indexes]
    if 0 in ids:
        ids[ids.index(0)] = (base & MASK) - _SIGN
    return ids


def index_in(base: int, event_id: int) -> int:
    """Return the index of `event_id` in the range of ids that starts at `base`: the inverse of `event_id_at`.

    Every id has an index of up to 64 bits in every range; the caller must check it against the range's length.
    """
    return ((event_id - base) * _INVERSE - 1) & MASK


def base_of(event_id: int, index: int) -> int:
    """Return the base of the range in which item `index` has the id `event_id`."""
    return (event_id - (index + 1) * STRIDE) & MASK


def reseed(seed: int | None = None) -> None:
    """Seed the generator anew: from the operating system, or from `seed` for repeatable tests."""
    _generator.seed(seed)


# A forked child would otherwise hand out the very ids that its parent hands out.
os.register_at_fork(after_in_child=reseed)
