"""The pages as they are: read each golden text as its reader would, and change it only when the page is to change."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom.events.error import ErrorInfo
from spanloom.store.model import Record, Run, Summary
from spanloom.viewer._ids import short_ids
from spanloom.viewer._layout import Line, cells, plain
from spanloom.viewer.analysis import analyse
from spanloom.viewer.comparison import compare
from spanloom.viewer.diff import diff_lines, verdict
from spanloom.viewer.listing import list_lines
from spanloom.viewer.plain import plain_analysis, plain_comparison
from spanloom.viewer.show import show_lines
from tests.viewer.made_runs import died, pipeline
from tests.viewer.runs import START, Made, dead, run, texts

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pages show local time."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def the_list(width: int = 100) -> str:
    hour = 3_600_000_000_000
    runs: list[tuple[Run, Summary]] = [
        (run(5_000, run_id="0198" + "b" * 28, state="running", ended_wall_ns=None), Summary(12, 8, 1, 0, 3)),
        (dead(4_200, run_id="0198" + "a" * 28, dropped=12), Summary(2_204, 2_000, 12, 3, 51)),
        (
            run(93_000, run_id="0197cccc" + "c" * 24, name="a\x1b[31mb.py", exit_code=2),
            Summary(5, 4, 0, 0, 0),
        ),
        (run(93_000, run_id="0197cccc" + "d" * 24), Summary(1_000_002, 1_000_000, 0, 0, 0)),
    ]
    return texts(list_lines(runs, width=width, now_ns=START + hour))


PAGES = {
    "show_died": lambda: texts(show_lines(died())),
    "show_ended": lambda: texts(show_lines(pipeline(batches=3))),
    "diff_slower": lambda: texts(diff_lines(compare(pipeline(), pipeline(orders=40, fails=30)))),
    "diff_same": lambda: texts(diff_lines(compare(pipeline(), pipeline(12.1)))),
    "list": the_list,
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_the_golden_one(name: str) -> None:
    """Every character of a page of known records is as it was when somebody last read it."""
    assert PAGES[name]() + "\n" == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_keeps_to_its_width(name: str) -> None:
    """No line is wider than the page."""
    widest = max(map(cells, PAGES[name]().splitlines()))
    assert widest <= 100


@pytest.mark.parametrize("width", [64, 80, 140])
def test_a_page_is_as_wide_as_asked(width: int) -> None:
    """Text is cut where there is less room, and tables do without some columns; no number is cut."""
    page = texts(show_lines(died(), width=width))
    assert max(map(cells, page.splitlines())) <= width
    tables = [*_section(page, "tree "), *_section(page, "By name")[1:]]
    assert len(tables) > 10
    assert not [line for line in tables if line.endswith("…") and "failed [" not in line]
    assert ("p99" in page) is (width == 140)
    for head in ("count", "total", "self", "max", "failed"):
        assert head in tables[0]
        assert head in _section(page, "By name")[1]
    assert [line.split()[0] for line in _section(page, "Slowest")[2:5]] == [
        "fetch[9]",
        "fetch[18]",
        "fetch[13]",
    ]


@pytest.mark.parametrize("width", [64, 80, 100])
def test_the_list_and_the_comparison_are_as_wide_as_asked(width: int) -> None:
    """Of a run with a bad exit code and lost events, too: what is most important is there, and whole."""
    of = run(4_200, name="a_pipeline_with_a_long_name.py", exit_code=17, dropped=1_234)
    listed = [(of, Summary(1_000_000, 998_877, 12_345, 0, 1_024))]
    page = texts(list_lines(listed, width=width, now_ns=START)).splitlines()
    assert max(map(cells, page)) <= width
    assert page[1].split()[0] == "3f9c1a2b"
    assert "4.20 s  ended, exit 17  998,877  12,345" in page[1]
    page = texts(diff_lines(compare(pipeline(), pipeline(40, batches=2)), width=width)).splitlines()
    assert max(map(cells, page)) <= width


def _section(page: str, title: str) -> list[str]:
    """Return the lines of a page from the one that begins so to the next empty one."""
    lines = page.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(title))
    return lines[first : lines.index("", first)]


def test_what_never_ended_counts_the_same_in_the_tree_and_by_name() -> None:
    """Totals and self times have what is open up to when the run was last heard of, so the two tables agree."""
    analysis = died()
    totals: dict[tuple[str, str], list[int]] = {}
    places = list(analysis.tree)
    for place in places:
        found = totals.setdefault((place.type, place.name), [0, 0])
        found[0] += place.span_ns
        found[1] += place.self_ns
        places.extend(place.below.values())
    assert {(s.type, s.name): [s.span_ns, s.self_ns] for s in analysis.names} == totals
    page = texts(show_lines(analysis))
    assert re.search(r"job fetch .* 1\.44 s", "\n".join(_section(page, "By name")))
    assert re.search(r"job fetch .* 1\.44 s", "\n".join(_section(page, "tree ")))


def test_a_slow_job_is_said_to_be_mostly_what_was_inside_its_attempt() -> None:
    """That it was in an attempt says nothing: the step that took most of it does, if there is one."""
    made = Made()
    inside = {0: [("a", 10), ("b", 80)], 1: [("a", 40), ("b", 20)], 2: []}
    for index, steps in inside.items():
        job = made.job("fetch", index, index * 100, index * 100 + 100, None)
        now = index * 100.0
        attempt = made.event("attempt", "fetch", now, now + 100, job, attempt=1)
        for name, took in steps:
            made.event("step", name, now, now + took, attempt)
            now += took
    mostly = {kept.record.job_index: kept.below for kept in made.analyse().slowest}
    assert {index: below.name for index, below in mostly.items() if below} == {0: "b", 1: "fetch", 2: "fetch"}
    assert "step b 80.0 ms" in texts(show_lines(made.analyse()))


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (run(10), "no event has started"),
        (run(10, ended_wall_ns=None, state="running", exit_code=None), "yet"),
        (dead(10), "in the last 0.2 s before the process died is not known"),
    ],
)
def test_a_run_without_events_says_no_more_than_is_known(of: Run, said: str) -> None:
    """Only of one that has ended is it known that no event has started."""
    page = texts(show_lines(Made().analyse(of)))
    assert "Nothing" in page
    assert said in page
    assert ("no event has started" in page) is (of.state == "ended")


@pytest.mark.parametrize("jobs", [1, 2])
def test_jobs_with_a_batch_each_have_no_slowest_one(jobs: int) -> None:
    """All of them are the first of their batch, as what is given to a pool call by call: "[0]" names none of them."""
    made = Made()
    for number in range(10):
        batch = made.event("batch", "parse", number * 10, number * 10 + 9)
        for index in range(jobs):
            made.job("parse", index, number * 10, number * 10 + 5 + index, batch)
    tree = texts(show_lines(made.analyse())).partition("By name")[0]
    assert ("slowest [" in tree) is (jobs > 1)


def test_a_critical_path_of_one_event_is_said_as_one() -> None:
    """One makes up the time, several make it up."""
    made = Made()
    made.event("step", "all", 0, 100)
    assert "Critical path: 1 event makes up the 100 ms" in texts(show_lines(made.analyse()))


def hostile() -> Made:
    nasty = "\x1b]0;owned\x07\u202egnp.exe\n\r\x9b31m\x00"
    made = Made()
    root = made.event("trace", nasty, 0, None)
    batch = made.event(nasty, nasty, 1, None, root)
    for index in range(5):
        job = made.job(nasty, index, 2, 50 + index, batch, error=(nasty, nasty + str(index)))
        made.event("slot_wait", nasty, 2, 20, job)
    made.job(nasty, 7, 60, None, batch)
    return made


def test_control_characters_in_data_are_escaped_everywhere() -> None:
    """Names, messages, arguments and paths from anywhere can neither steer the terminal nor turn its text around."""
    nasty = "\x1b[2J\u202e\u2066x\n"
    of = dead(100, name=nasty, argv=(nasty, nasty), cwd=nasty, host=nasty, python=nasty, version=nasty)
    analysis = hostile().analyse(of)
    pages = [
        show_lines(analysis, everything=True),
        diff_lines(compare(analysis, Made().analyse(of)), everything=True),
        list_lines([(of, Summary(1, 1, 0, 0, 0))], now_ns=START),
    ]
    for page in pages:
        for line in page:
            assert line.text.isprintable(), ascii(line.text)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_the_characters_gets_others(encoding: str) -> None:
    """Bars and arrows become ASCII of the same width, other text is escaped: nothing fails, nothing shifts."""
    lines = list(show_lines(died()))
    found = list(plain(lines, encoding))
    for before, after in zip(lines, found, strict=True):
        after.text.encode(encoding)
        assert len(after.text) == len(before.text)
    assert list(plain(lines, "utf-8")) == lines
    assert next(plain([Line("näme 名")], "ascii")).text == "n\\xe4me \\u540d"


def test_wide_characters_keep_the_columns_in_their_places() -> None:
    """A name of Chinese characters takes two columns for each, and the numbers beside it stay aligned."""
    made = Made()
    made.event("step", "数据处理", 0, 10)
    made.event("step", "plain", 10, 20)
    page = texts(show_lines(made.analyse())).splitlines()
    rows = [line for line in page if "step" in line and "10.0 ms" in line and "%" not in line]
    ends = {cells(row[: row.index("10.0 ms")]) for row in rows if row.startswith("step")}
    assert len(ends) == 1


@pytest.mark.parametrize("wide", ["search", "\u691c\u7d22"])
def test_hosts_that_begin_alike_are_told_apart(wide: str) -> None:
    """Names that would be cut to the same text are cut in the middle, so that the port of a host stays."""

    def of_hosts(slow: float) -> Made:
        made = Made()
        for number, took in enumerate((10, 12 + slow, 14 + slow)):
            name = f"GET {wide}.internal.example.com:{9000 + number}"
            for index in range(20):
                made.event("request", name, 20 * index, 20 * index + took)
        return made

    page = texts(diff_lines(compare(of_hosts(0).analyse(), of_hosts(5).analyse()), width=100))
    (first, second) = re.findall(r"  (request \S.*?)  +\d.* slower", page)
    assert (first[-5:], second[-5:]) in {(":9001", ":9002"), (":9002", ":9001")}
    assert "\u2026" in first
    assert all(cells(line) <= 100 for line in page.splitlines())


def test_a_long_page_says_how_much_more_there_is() -> None:
    """Bounded in depth and in width, and what is left out is counted; `everything` shows it."""
    made = Made()
    root = made.event("trace", "main", 0, 1_000)
    for number in range(30):
        made.event("step", f"part {number}", number * 10, number * 10 + 9, root)
    parent = root
    for depth in range(12):
        parent = made.event("call", f"level {depth}", 400 + depth, 900 - depth, parent)
    analysis = made.analyse()
    page = texts(show_lines(analysis))
    assert "23 more names: 23 events, 207 ms in all" in page
    assert "events more inside" in page
    assert "more names" in page.split("By name")[1]
    everything = texts(show_lines(analysis, everything=True))
    assert "more" not in everything.split("Critical path")[0]
    assert everything.count("part 29") >= 2


def test_a_run_without_events_says_so() -> None:
    """A page of a run that recorded nothing is short and plain."""
    page = texts(show_lines(Made().analyse(run(10))))
    assert "Nothing was recorded" in page
    assert "events    0, none lost" in page


def test_a_smaller_limit_is_told_first() -> None:
    """Where less went on at once, that is the sentence, and no endpoint is accused."""
    one, several = Made(), Made()
    for index in range(60):
        one.job("job", index, index * 10, index * 10 + 10, None)
        several.job("job", index, index // 6 * 10, index // 6 * 10 + 10, None)
    sentences = list(verdict(compare(several.analyse(), one.analyse())))
    assert sentences == [
        "B took 500 ms longer than A: 100 ms → 600 ms, +500.0%.",
        "Less went on at once, 6.0 → 1.0 on average: that made B 500 ms longer.",
    ]
    assert next(verdict(compare(one.analyse(), several.analyse()))).startswith("B took 500 ms less than A: ")


def test_what_changed_without_making_a_difference_is_told() -> None:
    """An endpoint that got ten times as slow, in a run in which it is nothing, is still named."""
    pages = []
    for ms in (0.1, 1.0):
        made = Made()
        for index in range(50):
            made.event("step", "big", index * 200, index * 200 + 100 + index % 7)
            made.event("step", "small", index * 200 + 150, index * 200 + 150 + ms)
        pages.append(made.analyse(run(10_000)))
    assert list(verdict(compare(*pages))) == [
        "No difference beyond noise: A took 10.0 s, B 10.0 s.",
        "Still, step small got slower: 100 us → 1.00 ms each, +45.0 ms in all.",
    ]


def test_ids_are_shortened_to_what_is_unique() -> None:
    """Eight digits, and more where two runs begin with the same."""
    ids = ["a" * 32, "a" * 10 + "b" * 22, "c" * 32]
    assert short_ids(ids) == {ids[0]: "a" * 11, ids[1]: "a" * 10 + "b", ids[2]: "c" * 8}


def test_an_empty_list_says_so() -> None:
    """A file without runs is no table without lines."""
    assert texts(list_lines([], now_ns=0)) == "No runs have been recorded."


def steps(count: int, each: float, name: str = "parse", *, gap: float = 0, offset: float = 0) -> Made:
    """Return `count` steps one after another, of `each` ms and a little chance."""
    made = Made()
    now = offset
    for index in range(count):
        made.event("step", name, now, now + each + index % 3 / 10)
        now += each + gap + 0.3
    return made


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (steps(20, 5), steps(60, 5), "parse explains 100.0% of the difference: 20 → 60 events."),
        (steps(60, 5), steps(20, 5), "parse explains 100.0% of the difference: 60 → 20 events."),
        (
            steps(1, 1, "old"),
            steps(20, 5, "new"),
            "new explains 101.0% of the difference: 20 events, none in A.",
        ),
        (
            steps(20, 5, "old"),
            steps(1, 1, "new"),
            "old explains 101.0% of the difference: 20 events in A, none in B.",
        ),
        (steps(9, 5), steps(9, 5, offset=900), "100.0% of it is outside of any event: 1.70 ms → 902 ms."),
    ],
)
def test_the_verdict_says_what_kind_of_difference_it_is(before: Made, after: Made, sentence: str) -> None:
    """More events, other events, or no event at all: each has its own sentence."""
    assert sentence in list(verdict(compare(before.analyse(), after.analyse())))


def test_the_page_of_a_comparison_warns_of_runs_that_did_not_end() -> None:
    """A dead run counts as far as it got, and lost events are told: both change what the numbers mean."""
    made = steps(20, 5)
    page = texts(diff_lines(compare(made.analyse(), made.analyse(dead(120, dropped=7)))))
    assert "interrupted: what is not over is counted as far as it got" in page
    assert "7 lost" in page


def test_two_runs_without_events_have_nothing_to_compare() -> None:
    """Nothing is not the same as no difference."""
    empty = Made().analyse(run(0))
    assert list(verdict(compare(empty, empty))) == [
        "Nothing to compare: neither run has an event that took time."
    ]


def test_a_running_run_is_shown_as_running() -> None:
    """What is open there is open now, and nobody has died."""
    made = Made()
    batch = made.event("batch", "all", 0, None, status=None)
    for index in range(12):
        made.job("fetch", index, index, None, batch, status=None)
    page = texts(show_lines(made.analyse(run(50, state="running", ended_wall_ns=None, exit_code=None))))
    assert "is running" in page
    assert "running for 50.0 ms so far" in page
    assert "Open now" in page
    assert "and 2 more, which had run for less time" in page
    assert "12: 12 running" in page
    assert "nterrupted" not in page


def test_a_date_that_no_calendar_has_is_unknown() -> None:
    """A damaged record, or a clock that was far off, does not keep the rest from being shown."""
    page = texts(show_lines(Made().analyse(run(10, started_wall_ns=-(10**30), ended_wall_ns=-(10**30) + 1))))
    assert "at an unknown time" in page


times = st.one_of(st.none(), st.integers(-5, 200), st.just(2**62))


@st.composite
def garbage(draw: st.DrawFn) -> list[Record]:
    """Records as only damage can make them: any parent, any times, any numbers; in order of start."""
    records = []
    for number in range(draw(st.integers(0, 25))):
        end = draw(times)
        status = draw(st.sampled_from([None, "ok", "error", "timeout", "cancelled", "interrupted", "odd"]))
        records.append(
            Record(
                number + 1,
                draw(st.one_of(st.none(), st.integers(0, 30))),
                7,
                draw(st.sampled_from(["job", "batch", "attempt", "backoff", "slot_wait", "x"])),
                draw(st.sampled_from(["a", "b", ""])),
                draw(st.integers(-5, 200)),
                end,
                status,
                draw(st.sampled_from([None, ErrorInfo("E", "m 1"), ErrorInfo("", "")])),
                draw(times),
                draw(times),
                draw(times),
                draw(times),
                draw(st.one_of(st.none(), st.integers(0, 30))),
                is_point=draw(st.booleans()),
            )
        )
    return sorted(records, key=lambda record: record.start_ns)


@pytest.mark.slow
@given(garbage(), garbage())
def test_no_record_however_damaged_keeps_a_page_from_being_shown(a: list[Record], b: list[Record]) -> None:
    """The file is on a disk, and may hold anything: the pages and the data are made of whatever it is."""
    of_a, of_b = analyse(run(0.0001), a), analyse(dead(0.0001), b)
    assert of_a.events == len(a)
    assert sum(stats.count for stats in of_a.names) == len(a)
    for lines in (show_lines(of_a, everything=True), show_lines(of_b), diff_lines(compare(of_a, of_b))):
        for line in lines:
            assert line.text.isprintable()
    msgspec.json.encode(plain_analysis(of_a))
    msgspec.json.encode(plain_comparison(compare(of_a, of_b)))
