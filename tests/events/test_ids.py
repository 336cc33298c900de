"""Ids: unique, valid under W3C Trace Context, and a range of them costs one."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom.events import ids

BASES = st.integers(min_value=1, max_value=2**64 - 1)
INDEXES = st.integers(min_value=0, max_value=2**40)


def test_fresh_ids_are_in_range_and_distinct() -> None:
    """Event ids have 64 bits, trace ids 128, none is zero, and a thousand of them differ."""
    events = [ids.new_event_id() for _ in range(1000)]
    traces = [ids.new_trace_id() for _ in range(1000)]
    assert all(0 < event < 2**64 for event in events)
    assert all(0 < trace < 2**128 for trace in traces)
    assert len({*events, *traces}) == 2000
    assert max(traces) >= 2**64


def test_zero_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero is invalid on the wire, so a generator that returns it is asked once more."""
    drawn = iter([0, 7, 0, 9])
    monkeypatch.setattr(ids, "random_bits", lambda bits: next(drawn))
    assert ids.new_event_id() == 7
    assert ids.new_trace_id() == 9


@given(BASES, INDEXES)
def test_an_id_of_a_range_is_valid(base: int, index: int) -> None:
    """Every id of a range has 64 bits and is not zero."""
    assert 0 < ids.event_id_at(base, index) < 2**64


@given(BASES, INDEXES, INDEXES)
def test_a_range_never_repeats(base: int, one: int, other: int) -> None:
    """Two jobs of a batch never share an id: index to id is one to one."""
    assert (ids.event_id_at(base, one) == ids.event_id_at(base, other)) == (one == other)


@given(INDEXES)
def test_the_index_that_would_give_zero_gets_an_id_of_its_own(index: int) -> None:
    """Where the arithmetic comes out at zero, the id is another one, and no neighbour has it."""
    base = -(index + 1) * ids.STRIDE & ids.MASK
    if base == 0:
        return
    taken = ids.event_id_at(base, index)
    assert taken == base ^ (1 << 63)
    around = {
        ids.event_id_at(base, other) for other in range(max(0, index - 50), index + 50) if other != index
    }
    assert taken not in around


def test_reseeding_repeats_the_ids() -> None:
    """The same seed gives the same ids, for tests; without one they come from the system's entropy."""
    try:
        ids.reseed(1)
        first = ids.new_event_id(), ids.new_trace_id()
        ids.reseed(1)
        assert (ids.new_event_id(), ids.new_trace_id()) == first
    finally:
        ids.reseed()
    assert (ids.new_event_id(), ids.new_trace_id()) != first


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_has_ids_of_its_own(run_python) -> None:
    """Parent and child, forked between two draws, do not draw the same id."""
    out = run_python(
        """
        import os
        from spanloom.events.ids import new_event_id
        new_event_id()
        reader, writer = os.pipe()
        pid = os.fork()
        mine = new_event_id()
        if pid == 0:
            os.write(writer, str(mine).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        print(int(os.read(reader, 100)) != mine)
        """
    )
    assert out == "True\n"


@given(BASES, INDEXES)
def test_an_id_tells_its_index(base: int, index: int) -> None:
    """Whoever knows the start of a range finds the place of an id in it, that of the one odd id aside."""
    taken = ids.event_id_at(base, index)
    assert ids.index_in(base, taken) == index or taken == base ^ (1 << 63)


@given(BASES, INDEXES)
def test_an_id_and_its_index_tell_the_range(base: int, index: int) -> None:
    """Whoever knows one id of a range, and its place there, finds where the range starts."""
    taken = ids.event_id_at(base, index)
    assert ids.base_of(taken, index) == base or taken == base ^ (1 << 63)
