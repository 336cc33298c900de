"""Errors are grouped, and each is counted once however far it travels."""

from __future__ import annotations

from spanloom.events.error import ErrorInfo, Frame
from spanloom.store.model import Record
from spanloom.viewer._shape import VARIES
from spanloom.viewer.analysis import Analysis
from spanloom.viewer.show import show_lines
from tests.viewer.runs import MS, Made, dead, texts


def groups(analysis: Analysis) -> list[tuple[str, str, int, int]]:
    return [(group.type, group.shape, group.count, group.jobs) for group in analysis.errors]


def test_an_error_that_passes_through_events_counts_once() -> None:
    """The attempt raised it; job, batch and trace only passed it on. It ended one job."""
    boom = ("ValueError", "bad item 7")
    made = Made()
    trace = made.event("trace", "main", 0, 100, error=boom)
    batch = made.event("batch", "all", 0, 99, trace, error=boom)
    job = made.job("fetch", 7, 0, 50, batch, error=boom)
    made.event("attempt", "fetch", 0, 40, job, error=boom, attempt=1)
    (group,) = made.analyse().errors
    assert (group.count, group.jobs, group.names) == (1, 1, {("attempt", "fetch"): 1})
    assert (group.first_ns, group.last_ns) == (40 * MS, 50 * MS)


def test_errors_that_were_retried_away_end_no_job() -> None:
    """What failed and then worked is there, and it is plain that it cost no job."""
    made = Made()
    batch = made.event("batch", "all", 0, 100)
    for index in range(3):
        job = made.job("fetch", index, 0, 50, batch)
        made.event("attempt", "fetch", 0, 10, job, error=("OSError", f"lost {index}"), attempt=1)
        made.event("attempt", "fetch", 20, 50, job, attempt=2)
    assert groups(made.analyse()) == [("OSError", "lost <n>", 3, 0)]


def test_an_error_that_replaces_another_is_one_of_its_own() -> None:
    """A wrapper raised in its place is a second error; the first is counted where it was."""
    made = Made()
    job = made.job("fetch", 0, 0, 50, None, error=("AppError", "gave up"))
    made.event("attempt", "fetch", 0, 10, job, error=("OSError", "lost"), attempt=1)
    assert sorted(groups(made.analyse())) == [("AppError", "gave up", 1, 1), ("OSError", "lost", 1, 0)]


def test_types_and_shapes_tell_errors_apart() -> None:
    """One shape in two types, and two shapes in one, are kinds of their own; numbers are not."""
    made = Made()
    for index, error in enumerate(
        [("ValueError", "bad 1"), ("ValueError", "bad 2"), ("KeyError", "bad 3"), ("ValueError", "worse 4")]
    ):
        made.job("job", index, index, index + 1, None, error=error)
    assert groups(made.analyse()) == [
        ("ValueError", "bad <n>", 2, 2),
        ("KeyError", "bad <n>", 1, 1),
        ("ValueError", "worse <n>", 1, 1),
    ]


def test_messages_with_many_names_in_one_place_are_one_group() -> None:
    """Enough of them, and a word that varies is taken for a value; the counts are added up."""
    made = Made()
    for index in range(2 * VARIES):
        name = "abcdefghijklmnopqrst"[index] * 3
        made.job("job", index, index, index + 1, None, error=("LookupError", f"no user {name} here"))
    assert groups(made.analyse()) == [("LookupError", "no user <*> here", 2 * VARIES, 2 * VARIES)]


def test_timeouts_are_errors_and_cancels_are_not() -> None:
    """Who was cancelled did nothing wrong."""
    made = Made()
    made.job("slow", 0, 0, 10, None, error=("TimeoutError", ""), status="timeout")
    made.job("other", 1, 0, 10, None, error=("asyncio.exceptions.CancelledError", ""), status="cancelled")
    assert groups(made.analyse()) == [("TimeoutError", "", 1, 1)]


def test_a_group_says_where_it_was_raised() -> None:
    """The innermost frame of the first of them is kept, and the message as it was."""
    error = ErrorInfo("ValueError", "bad 7", (Frame("main.py", 3, "main"), Frame("parse.py", 14, "parse")))
    made = Made()
    made.records.append(Record(1, None, 7, "step", "parse", 0, 10, "error", error))
    (group,) = made.analyse(dead(10)).errors
    assert group.frame == Frame("parse.py", 14, "parse")
    assert group.example == "bad 7"


def test_kinds_beyond_number_are_counted_together() -> None:
    """A message that is new every time costs bounded memory, and every error is still counted."""
    made = Made()
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [a + b + c for a in letters for b in letters for c in letters][:1_500]
    for index, (first, second) in enumerate(zip(words, reversed(words), strict=True)):
        made.job("job", index, index, index + 1, None, error=("Odd", f"{first} and {second}"))
    found = made.analyse().errors
    assert len(found) <= 201
    assert sum(group.count for group in found) == 1_500


def test_an_error_of_a_library_is_told_by_the_programs_own_line() -> None:
    """That line is the one to look at; what the library was at comes after it, without the way to the environment."""
    inside = "/srv/app/.venv/lib/python3.11/site-packages/httpx/_models.py"
    frames = (Frame("/srv/app/fetch.py", 12, "fetch"), Frame(inside, 829, "Response.raise_for_status"))
    made = Made()
    made.job("fetch", 0, 0, 5, None, error=("HTTPStatusError", "404\nFor more information: see", frames))
    text = texts(show_lines(made.analyse(), width=200))
    assert (
        "raised at /srv/app/fetch.py:12 in fetch, in httpx/_models.py:829 (Response.raise_for_status)" in text
    )
    (group,) = made.analyse().errors
    assert (group.frame, group.own_frame) == (frames[1], frames[0])


def test_a_line_is_told_as_it_is_where_there_is_none_of_the_programs() -> None:
    """As is the program's own: nothing is told twice."""
    for path in (
        "/usr/lib/python3.12/json/decoder.py",
        "C:\\Python312\\Lib\\json\\decoder.py",
        "/srv/app/lib.py",
    ):
        made = Made()
        made.job("parse", 0, 0, 5, None, error=("ValueError", "no", (Frame(path, 3, "decode"),)))
        (group,) = made.analyse().errors
        assert (group.frame, group.own_frame) == (Frame(path, 3, "decode"), None)


def test_a_message_of_several_lines_is_told_in_one() -> None:
    """In the tree and below the errors, without signs for the ends of its lines."""
    made = Made()
    batch = made.event("batch", "all", 0, 100)
    for index in range(5):
        error = ("HTTPStatusError", "Client error '404' for '/7'\nFor more: see") if index == 3 else None
        made.job("fetch", index, 0, 5, batch, error=error)
    text = texts(show_lines(made.analyse(), width=200))
    assert "failed [3] 5.00 ms, HTTPStatusError: Client error '404' for '/7' For more: see" in text
    assert "\\n" not in text
