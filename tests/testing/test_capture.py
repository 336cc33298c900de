"""Events as a list."""

from __future__ import annotations

import pytest

from spanloom import CallbackManager, get_callback_manager, retry, run_jobs, use_callback_manager
from spanloom.testing import EventCapture, capture_events, capture_everywhere


async def fetch(fails: bool = False) -> None:
    if fails:
        raise ValueError("fetch")


async def test_the_events_of_a_block_are_kept() -> None:
    """By default a new manager is ambient in the block, and only there."""
    outer = get_callback_manager()
    with capture_events() as captured:
        assert get_callback_manager() is not outer
        await run_jobs([fetch(), fetch(True)], on_error="skip")
    assert get_callback_manager() is outer
    assert [(str(event.type), event.name) for event in captured.started] == [
        ("batch", "fetch"), ("job", "fetch"), ("job", "fetch"),
    ]  # fmt: skip
    assert [str(event.type) for event in captured.events] == ["job", "job", "batch"]
    assert captured.open == []


async def test_the_tree_tells_what_happened_without_ids_and_times() -> None:
    """Types, names, indexes, attempts, statuses, errors and open events are in the text."""
    calls = [True, False]
    manager = CallbackManager()
    with capture_events(manager) as captured, manager.as_trace("main"), manager.event(name="still open"):
        manager.emit(name="hint")
        assert captured.tree() == "trace main open\n  step still open open\n    mark hint point"
    assert manager.handlers == []
    assert captured.tree() == "trace main ok\n  step still open ok\n    mark hint point"

    with capture_events() as captured:
        await run_jobs([lambda: retry(lambda: fetch(calls.pop(0)), base_delay=0)], desc="all")
    lines = captured.tree().splitlines()
    assert lines[0] == "batch all ok"
    assert [line.split()[0] for line in lines] == ["batch", "job", "retry", "attempt", "backoff", "attempt"]
    assert lines[3].endswith("1. error ValueError")
    assert lines[5].startswith("      attempt")
    assert lines[5].endswith("2. ok")


def test_an_event_whose_parent_was_not_captured_is_a_root() -> None:
    """Listening may begin in the middle of a trace."""
    manager = CallbackManager()
    with manager.as_trace("before"), capture_events(manager) as captured, manager.event(name="inside"):
        pass
    assert captured.tree() == "step inside ok"


def test_it_is_a_handler_like_any_other() -> None:
    """`EventCapture` can be added to a manager by hand, and an exception of the block passes through."""
    capture = EventCapture()
    manager = CallbackManager([capture])
    with pytest.raises(KeyError), capture_events(manager) as second, manager.event(name="step"):
        raise KeyError("mine")
    assert capture.tree() == second.tree() == "step step error KeyError"


async def test_a_tree_is_compared_with_a_text() -> None:
    """Indentation of the whole does not matter, and a line of dots stands for any lines."""
    with capture_events() as captured:
        await run_jobs([fetch(), fetch(), fetch()])
    captured.assert_tree(
        """
            batch fetch ok
              job fetch #0 ok
              job fetch #1 ok
              job fetch #2 ok
        """
    )
    captured.assert_tree("batch fetch ok\n  ...\n  job fetch #2 ok")
    captured.assert_tree("...")
    for wrong in ("", "batch fetch ok", "batch fetch ok\n  job fetch #0 ok\n  ...\n  job fetch #3 ok"):
        with pytest.raises(AssertionError, match="the events are not those expected") as caught:
            captured.assert_tree(wrong)
        assert "+  job fetch #1 ok" in str(caught.value)
    with capture_events() as nothing:
        pass
    nothing.assert_tree("")


@pytest.mark.parametrize(
    ("expected", "fits"),
    [
        ("...\nstep 1 ok\n...\nstep 3 ok\n...", True),
        ("...\nstep 0 ok\n...\n...", True),
        ("step 0 ok\n...\nstep 39 ok\n...", True),
        ("...\nstep 3 ok\n...\nstep 1 ok\n...", False),
        ("...\nstep 38 ok", False),
        ("...\nstep 38 ok\nstep 39 ok", True),
    ],
)
def test_dots_stand_for_any_lines(expected: str, fits: bool) -> None:
    """Or for none, at the beginning, at the end and between; what stands between them has to come in that order."""
    with capture_events() as captured:
        for number in range(40):
            with get_callback_manager().event(name=str(number)):
                pass
    if fits:
        captured.assert_tree(expected)
    else:
        with pytest.raises(AssertionError, match="not those expected"):
            captured.assert_tree(expected)


def test_a_tree_that_does_not_fit_is_found_out_at_once() -> None:
    """However many dots there are, and however alike the lines: not every way of sharing them out is tried."""
    with capture_events() as captured:
        for _ in range(60):
            with get_callback_manager().event(name="one"):
                pass
    captured.assert_tree("step one ok\n...\n" * 20)
    with pytest.raises(AssertionError, match="not those expected"):
        captured.assert_tree("step one ok\n...\n" * 20 + "step another ok")


async def test_events_of_all_managers_are_captured_with_the_same_ids() -> None:
    """A seed makes ids the same in every run, and chance comes back after the block."""

    async def ids(seed: int | None) -> list[int]:
        with capture_everywhere(seed) as captured:
            with use_callback_manager(CallbackManager()):
                await run_jobs([fetch()])
            await run_jobs([fetch()])
        assert [event.type for event in captured.events] == ["job", "batch"] * 2
        return [event.event_id for event in captured.events]

    assert await ids(5) == await ids(5) != await ids(6)
    assert await ids(None) != await ids(None)
    with capture_everywhere() as captured:
        pass
    await run_jobs([fetch()])
    assert captured.events == []


def test_a_capture_at_a_prompt_says_how_much_it_has() -> None:
    """Ended and open events, as numbers."""
    with capture_events() as captured, get_callback_manager().event("step", name="a"):
        get_callback_manager().emit(name="b")
        assert repr(captured) == "<EventCapture 1 ended, 1 open>"
