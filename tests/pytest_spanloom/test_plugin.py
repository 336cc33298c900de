"""The pytest plugin, in pytests of their own."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")

EVALUATIONS = """
import asyncio
import pytest
from spanloom.evaluation import foreach

ROWS = [("2+2", 4), ("3+3", 6)]
made = []
running = most = 0

@pytest.fixture
def model():
    made.append("up")
    yield eval
    made.append("down")

@foreach("question,answer", ROWS)
def eval_plain(question, answer, model):
    return model(question) == answer

async def ask(question, answer, model):
    global running, most
    running += 1
    most = max(most, running)
    for _ in range(50):
        await asyncio.sleep(0)
    running -= 1
    return model(question) == answer

@foreach("question,answer", ROWS)
async def eval_one(question, answer, model):
    return await ask(question, answer, model)

@foreach("question,answer", ROWS)
async def test_two(question, answer, model, unused=None):
    return await ask(question, answer, model)

@foreach("question,answer", ROWS)
async def eval_bad(question, answer):
    raise ValueError(question)

@pytest.mark.parametrize("number", [1, 2])
@foreach("question,answer", ROWS)
async def eval_by_itself(question, answer, number):
    return number

def test_afterwards():
    print("most", most, made)
"""


@pytest.fixture
def check(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Return a function that runs pytest with the plugin on a file, and no other plugin of this environment."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(source: str, *arguments: str, plugin: bool = True) -> pytest.RunResult:
        path = pytester.makepyfile(test_it=source)
        ours = ("-p", "pytest_spanloom.plugin") if plugin else ()
        return pytester.runpytest_subprocess(*ours, "-p", "no:cacheprovider", "-rA", *arguments, path)

    return run


def test_the_entry_point_is_the_plugin() -> None:
    """What pyproject.toml tells pytest to load is there, and is part of the wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    name = project["project"]["entry-points"]["pytest11"]["spanloom"]
    assert importlib.import_module(name).__name__ == name
    assert (
        f"src/{name.partition('.')[0]}" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    )


def test_loading_the_plugin_loads_no_spanloom() -> None:
    """Every pytest of the environment loads the plugin; it brings one module, and nothing of ours with it."""
    program = (
        "import json, sys, pytest; before = set(sys.modules); import pytest_spanloom.plugin;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["pytest_spanloom", "pytest_spanloom.plugin"]


def test_tests_without_spanloom_are_none_of_our_business(check: Callable[..., pytest.RunResult]) -> None:
    """They run as without the plugin, and load nothing of ours; ``eval_`` functions are not collected."""
    source = """
        import sys
        def eval_nothing(): raise AssertionError
        def test_it(): assert not [name for name in sys.modules if name.startswith("spanloom")]
        def test_fails(): assert 1 == 2
        async def test_later(): pass
    """
    with_plugin = check(source, plugin=True)
    without = check(source, plugin=False)
    with_plugin.assert_outcomes(passed=1, failed=2)
    assert shape(with_plugin) == shape(without)


def shape(result: pytest.RunResult) -> list[str]:
    """Return what pytest has printed, but for what changes from run to run."""
    return [line for line in result.outlines if not line.startswith(("rootdir", "plugins", "platform", "=="))]


@pytest.mark.parametrize(
    "arguments",
    [(), (*ASYNCIO, "-o", "asyncio_mode=auto"), (*ASYNCIO, "-o", "asyncio_mode=strict"), ("-p", "anyio")],
    ids=["alone", "asyncio-auto", "asyncio-strict", "anyio"],
)
def test_evaluations_are_tests(check: Callable[..., pytest.RunResult], arguments: tuple[str, ...]) -> None:
    """They get fixtures, pass when every row does, and say what they came to; with whatever plugin runs coroutines."""
    result = check(EVALUATIONS, *arguments)
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(
        [
            "2 of 2 rows failed",
            "row 0: ValueError: 2+2",
            "row 1: ValueError: 3+3",
            "most 2 ['up', 'down', 'up', 'down', 'up', 'down']",
            "*= evaluations =*",
            "test_it.py::eval_plain - 2 rows, 0 failed, mean 1",
            "test_it.py::eval_bad - 2 rows, 2 failed",
            "test_it.py::eval_by_itself[[]2] - 2 rows, 0 failed, mean 2",
        ]
    )


@pytest.mark.parametrize(
    "arguments", [(), (*ASYNCIO, "-o", "asyncio_mode=auto")], ids=["alone", "asyncio-auto"]
)
def test_concurrent_evaluations_run_at_once(
    check: Callable[..., pytest.RunResult], arguments: tuple[str, ...]
) -> None:
    """Neighbours overlap, get fixtures that are made once for all of them, and each has its own outcome."""
    result = check(EVALUATIONS, "--concurrent", *arguments)
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(
        ["row 0: ValueError: 2+2", "most 4 ['up', 'down', 'up', 'down']", "FAILED test_it.py::eval_bad - *"]
    )


def test_a_selected_evaluation_runs_without_its_neighbours(check: Callable[..., pytest.RunResult]) -> None:
    """What is not selected does not run, concurrent or not."""
    result = check(EVALUATIONS, "--concurrent", "-k", "test_two or afterwards")
    result.assert_outcomes(passed=2, deselected=5)
    result.stdout.fnmatch_lines(["most 2 ['up', 'down']"])


def test_the_ways_out_of_pytest_are_those_of_each_evaluation(check: Callable[..., pytest.RunResult]) -> None:
    """One that skips itself, one that misses a fixture, and a sound one, at the same time."""
    source = """
        import pytest
        from spanloom.evaluation import foreach
        @foreach("number", [1])
        async def eval_skipped(number): pytest.skip("not today")
        @foreach("number", [1])
        async def eval_sound(number): return number
        @foreach("number", [1])
        def eval_lost(number, nowhere): return number
    """
    result = check(source, "--concurrent")
    result.assert_outcomes(passed=1, skipped=1, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'nowhere' not found*", "SKIPPED*not today"])


def test_neighbours_of_another_loop_run_by_themselves(check: Callable[..., pytest.RunResult]) -> None:
    """A fixture that lives in the loop of the module is of no use in another one."""
    source = """
        import asyncio
        import pytest
        import pytest_asyncio
        from spanloom.evaluation import foreach
        @pytest_asyncio.fixture(scope="module", loop_scope="module")
        async def client(): return asyncio.get_running_loop()
        @pytest_asyncio.fixture
        async def own(): return asyncio.get_running_loop()
        @foreach("number", [1])
        async def eval_one(number, own): return asyncio.get_running_loop() is own
        @foreach("number", [1])
        async def eval_two(number, own): return asyncio.get_running_loop() is own
        @pytest.mark.asyncio(loop_scope="module")
        @foreach("number", [1])
        async def eval_three(number, client): return asyncio.get_running_loop() is client
        @pytest.mark.asyncio(loop_scope="module")
        @foreach("number", [1])
        async def eval_four(number, client): return asyncio.get_running_loop() is client
    """
    result = check(source, "--concurrent", *ASYNCIO, "-o", "asyncio_mode=auto")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [f"*eval_{name} - 1 rows, 0 failed, mean 1" for name in ("one", "two", "three", "four")]
    )


METHODS = """
import asyncio
import pytest
from spanloom.evaluation import foreach

running = most = 0

@pytest.fixture(scope="class")
def model():
    yield 10
    print("most", most)

@pytest.fixture
def step():
    return 1

class TestAll:
    def setup_method(self, method):
        self.offset = 5

    @foreach("number", [1, 2])
    async def eval_one(self, number, model, step):
        return await self.ask(number) + model

    @foreach("number", [1, 2])
    async def eval_two(self, number, step):
        return await self.ask(number) + step

    @foreach("number", [1, 2])
    def eval_plain(self, number, model):
        return number + model + self.offset

    @staticmethod
    @foreach("number", [1, 2])
    async def test_static(number, step):
        return number + step

    @classmethod
    @foreach("number", [1, 2])
    def test_of_class(cls, number, step):
        return number + step + len(cls.__name__)

    async def ask(self, number):
        global running, most
        running += 1
        most = max(most, running)
        for _ in range(50):
            await asyncio.sleep(0)
        running -= 1
        return number + self.offset
"""


@pytest.mark.parametrize(("arguments", "most"), [((), 2), (("--concurrent",), 4)])
def test_methods_are_evaluations_as_well(
    check: Callable[..., pytest.RunResult], arguments: tuple[str, ...], most: int
) -> None:
    """They get their object, which has been set up, and fixtures; neighbours of a class may run at the same time."""
    result = check(METHODS, *arguments)
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        [
            f"most {most}",
            "*TestAll::eval_one - 2 rows, 0 failed, mean 16.5",
            "*TestAll::eval_two - 2 rows, 0 failed, mean 7.5",
            "*TestAll::eval_plain - 2 rows, 0 failed, mean 16.5",
            "*TestAll::test_static - 2 rows, 0 failed, mean 2.5",
            "*TestAll::test_of_class - 2 rows, 0 failed, mean 9.5",
        ]
    )


def test_an_exit_of_one_is_not_one_of_its_neighbours(check: Callable[..., pytest.RunResult]) -> None:
    """It breaks off the loop of all; what has not ended by then runs by itself, with its fixtures."""
    source = """
        import asyncio
        import pytest
        from spanloom.evaluation import foreach

        called = []

        @pytest.fixture
        def model():
            return 3

        @foreach("number", [1])
        async def eval_exit(number):
            while len(called) < 2:
                await asyncio.sleep(0)
            for _ in range(100):  # turns that the quick one needs to end
                await asyncio.sleep(0)
            raise SystemExit(5)

        @foreach("number", [1])
        async def eval_quick(number):
            called.append("quick")
            return number

        @foreach("number", [1])
        async def eval_late(number, model):
            called.append("late")
            await asyncio.sleep(0.5)
            return number + model

        @foreach("number", [1])
        async def eval_lost(number, nowhere):
            return number

        def test_calls():
            assert called == ["quick", "late", "late"]
    """
    result = check(source, "--concurrent")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*fixture 'nowhere' not found*",
            "*eval_quick - 1 rows, 0 failed, mean 1",
            "*eval_late - 1 rows, 0 failed, mean 4",
            "FAILED *eval_exit - SystemExit: 5",
        ]
    )


@pytest.mark.parametrize("arguments", [(), ("--concurrent",)])
def test_an_exit_of_pytest_ends_the_session(
    check: Callable[..., pytest.RunResult], arguments: tuple[str, ...]
) -> None:
    """It is an Exception, and meant for more than its row."""
    source = """
        import pytest
        from spanloom.evaluation import foreach
        @foreach("number", [1])
        async def eval_sound(number): return number
        @foreach("number", [1])
        async def eval_exit(number): pytest.exit("enough", 7)
        @foreach("number", [1])
        async def eval_never(number): return number
    """
    result = check(source, *arguments)
    assert result.ret == 7
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*Exit: enough*"])


@pytest.mark.parametrize("order", ["sound, lost, skipped", "lost, skipped, sound"])
def test_a_fixture_that_fails_fails_only_who_needs_it(
    check: Callable[..., pytest.RunResult], order: str
) -> None:
    """Also if it is made for all neighbours at once, whoever comes first."""
    functions = {
        "sound": "async def eval_sound(number): return number",
        "lost": "async def eval_lost(number, broken): return number",
        "skipped": "async def eval_skipped(number, skipping): return number",
    }
    source = """
import pytest
from spanloom.evaluation import foreach

@pytest.fixture
def broken(): raise LookupError("no server")

@pytest.fixture
def skipping(): pytest.skip("no key")
"""
    for name in order.split(", "):
        source += f"\n@foreach('number', [1])\n{functions[name]}\n"
    result = check(source, "--concurrent")
    result.assert_outcomes(passed=1, skipped=1, failed=1)
    result.stdout.fnmatch_lines(["SKIPPED*no key", "FAILED test_it.py::eval_lost - LookupError: no server"])


def test_a_fixture_that_is_not_there_is_missed_where_it_is_wanted(
    check: Callable[..., pytest.RunResult],
) -> None:
    """The failure shows the evaluation that wants it, not the neighbour that has made the fixtures of all."""
    source = """
from spanloom.evaluation import foreach

@foreach('number', [1])
async def eval_sound(number): return number

@foreach('number', [1])
async def eval_lost(number, nowhere): return number
"""
    result = check(source, "--concurrent")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*async def eval_lost(number, nowhere)*", "E *fixture 'nowhere' not found"])
    result.stdout.no_fnmatch_line("*eval_sound(number)*")


def test_a_process_of_xdist_runs_nothing_that_another_one_may_run(
    check: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    """There every process has all tests collected, and is given some of them: a neighbour may be another one's."""
    pytester.makepyfile(worker="def pytest_configure(config): config.workerinput = {'workerid': 'gw0'}")
    result = check(EVALUATIONS, "-p", "worker", "--concurrent")
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(["most 2 *"])


def test_an_option_of_the_same_name_is_shared(
    check: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    """Another plugin may have the option --concurrent already, as that of dotevals has."""
    pytester.makepyfile(
        other="def pytest_addoption(parser): parser.addoption('--concurrent', action='store_true', default=False)"
    )
    check(EVALUATIONS, "-p", "other", "--concurrent").stdout.fnmatch_lines(["most 4 *"])


DOTEVALS = """
import pytest
from spanloom.compat.dotevals import foreach
from spanloom.evaluation import foreach as ours

ROWS = [("2+2", 4), ("3+3", 6), ("4+4", 8)]

@pytest.fixture
def model():
    return eval

@foreach("question,answer", ROWS)
def eval_plain(question, answer, model):
    return model(question) == answer

@foreach("question,answer", ROWS)
async def eval_one(question, answer, model):
    return model(question) == answer

@foreach("question,answer", ROWS)
async def eval_two(question, answer, model):
    return model(question) == answer

@ours("question,answer", ROWS)
async def eval_ours(question, answer, model):
    return model(question) == answer

def test_other():
    pass
"""

PARAMETRIZED = """
import pytest
from spanloom.compat.dotevals import foreach

@pytest.mark.parametrize("number", [1, 2])
@foreach("question", ["a", "b"])
def eval_one(question, number):
    return number

@foreach("question,answer", [("a", "b"), ("c", "d")])
def eval_all(*row):
    return len(row)
"""

THEIR_PLUGIN = """
import pytest

def pytest_addoption(parser):
    parser.addoption("--samples", type=int)
    parser.addoption("--experiment")
    parser.addoption("--storage")
    parser.addoption("-C", "--concurrent", action="store_true", default=False)

def pytest_configure(config):
    config.addinivalue_line("markers", "dotevals: theirs")

def pytest_pyfunc_call(pyfuncitem):
    return True if pyfuncitem.get_closest_marker("dotevals") else None
"""
"""As far as ours has to do with it; above all, it has tests with its mark not run."""

THEIR_SESSIONS = """
class SessionManager:
    def __init__(self, evaluation_name, experiment_name=None, storage=None):
        if storage == "unknown://":
            raise ValueError("unknown storage")
        self.current_experiment, self.current_evaluation = experiment_name or "ephemeral", evaluation_name
        self.storage = self
        self.path = storage or "default"
        self.records = []

    def start_evaluation(self):
        pass

    def completed_items(self, experiment, evaluation):
        return [0]

    def get_results(self):
        return self.records

    def add_results(self, records):
        self.records += records

    def finish_evaluation(self, success=True):
        done = [record.item_id for record in self.records]
        with open("sessions.txt", "a") as file:
            print(self.path, self.current_experiment, self.current_evaluation, done, success, file=file)
"""


@pytest.fixture
def their_package(pytester: pytest.Pytester) -> Path:
    """Install something like dotevals, and return where its sessions write."""
    pytester.mkpydir("dotevals")
    pytester.makepyfile(**{"dotevals/plugin": THEIR_PLUGIN, "dotevals/sessions": THEIR_SESSIONS})
    return pytester.path / "sessions.txt"


@pytest.mark.parametrize("arguments", [(), ("--concurrent",)])
def test_options_of_dotevals_are_heeded(
    check: Callable[..., pytest.RunResult], their_package: Path, arguments: tuple[str, ...]
) -> None:
    """Its experiments, storages and samples, for evaluations of its facade; with none of them nothing is stored."""
    plugin = ("-p", "dotevals.plugin", "--strict-markers", *arguments)
    check(DOTEVALS, *plugin, "--samples", "2").assert_outcomes(passed=5)
    assert not their_package.exists()
    result = check(DOTEVALS, *plugin, "--experiment", "first", "--samples", "1")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*eval_plain - 1 rows, 0 failed*", "*eval_ours - 3 rows, 0 failed*"])
    names = ("eval_plain", "eval_one", "eval_two")
    assert sorted(their_package.read_text().splitlines()) == sorted(
        f"default first {name}[None-None] [1] True" for name in names
    )
    their_package.unlink()
    check(DOTEVALS, *plugin, "--storage", "json://x", "-k", "eval_two").assert_outcomes(
        passed=1, deselected=4
    )
    assert their_package.read_text() == "json://x ephemeral eval_two[None-None] [1, 2] True\n"
    their_package.unlink()
    check(PARAMETRIZED, *plugin, "--experiment", "first").assert_outcomes(passed=3)
    assert [line.split()[2] for line in their_package.read_text().splitlines()] == [
        "eval_one[None-1]",
        "eval_one[None-2]",
        "eval_all",
    ]
    result = check(DOTEVALS, *plugin, "--storage", "unknown://")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(["*ValueError: unknown storage"])


def test_the_mark_of_dotevals_selects(check: Callable[..., pytest.RunResult], their_package: Path) -> None:
    """With its plugin, which would have marked them and runs nothing that is marked, and without."""
    for plugin in (("-p", "dotevals.plugin"), ()):
        check(DOTEVALS, *plugin, "--strict-markers", "-m", "dotevals").assert_outcomes(passed=3, deselected=2)
        check(DOTEVALS, *plugin, "--strict-markers", "-m", "not dotevals").assert_outcomes(
            passed=2, deselected=3
        )


FIXTURES = """
import asyncio
import pytest
from spanloom import CallbackManager, run_jobs, use_callback_manager

async def job(number):
    await asyncio.sleep(0)
    if number == 2:
        raise ValueError(number)

async def batch():
    await run_jobs([job(1), job(2)], on_error="skip")
"""


@pytest.mark.slow
def test_the_events_of_a_test(check: Callable[..., pytest.RunResult]) -> None:
    """The fixture has them from every manager, sync or async; ids are those of the last run; a wrong tree is shown."""
    source = (
        FIXTURES
        + """
def test_plain(spanloom):
    with use_callback_manager(CallbackManager()):
        asyncio.run(batch())
    spanloom.assert_tree('''
        batch job ok
          job job #0 ok
          job job #1 error ValueError
    ''')
    print("ids", [event.event_id for event in spanloom.events], spanloom.events[0].trace_id)

async def test_later(spanloom):
    await batch()
    assert len(spanloom.events) == 3
    assert spanloom.open == []

async def test_wrong(spanloom):
    await batch()
    spanloom.assert_tree("batch job ok")
"""
    )
    arguments = (*ASYNCIO, "-o", "asyncio_mode=auto")
    results = [check(source, *arguments) for _ in range(2)]
    ids = [[line for line in result.outlines if line.startswith("ids")] for result in results]
    assert ids[0] == ids[1] != []
    for result in results:
        result.assert_outcomes(passed=2, failed=1)
        result.stdout.fnmatch_lines(["*the events are not those expected:", "*+  job job #0 ok"])


def test_tasks_that_are_left_behind_fail_a_test(check: Callable[..., pytest.RunResult]) -> None:
    """The message has the name of the task and where it is; a test that cancels its tasks passes."""
    source = (
        FIXTURES
        + """
async def test_leak(no_leaked_tasks):
    asyncio.create_task(asyncio.sleep(100), name="lost")

async def test_cancelled(no_leaked_tasks):
    asyncio.create_task(asyncio.sleep(100)).cancel()

async def test_error_first(no_leaked_tasks):
    asyncio.create_task(asyncio.sleep(100))
    raise KeyError("mine")

def test_plain(no_leaked_tasks):
    asyncio.run(batch())
"""
    )
    result = check(source, *ASYNCIO, "-o", "asyncio_mode=auto")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["1 task left behind:", "  lost: sleep, *tasks.py:*"])
    result.stdout.no_fnmatch_line("During handling of the above exception*")
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_error_first - KeyError: 'mine'"])


@pytest.mark.parametrize("arguments", [(), ("--concurrent",)])
def test_methods_of_unittest_are_evaluations_as_well(
    check: Callable[..., pytest.RunResult], arguments: tuple[str, ...]
) -> None:
    """Rows that fail fail the test there, too; unittest itself would be content with any results."""
    source = """
        import unittest
        from spanloom.evaluation import foreach
        class TestPlain(unittest.TestCase):
            def setUp(self): self.offset = 1
            @foreach("number", [1, 2])
            def test_sound(self, number): return number + self.offset
            @foreach("number", [1, 0])
            def test_bad(self, number): return 1 / number
        class TestLater(unittest.IsolatedAsyncioTestCase):
            async def asyncSetUp(self): self.offset = 2
            @foreach("number", [1, 2])
            async def test_sound(self, number): return number + self.offset
            @foreach("number", [1, 0])
            async def test_bad(self, number): return 1 / number
    """
    result = check(source, *arguments, "-W", "error::DeprecationWarning")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*TestPlain::test_bad - 2 rows, 1 failed, mean 1",
            "*TestPlain::test_sound - 2 rows, 0 failed, mean 2.5",
            "*TestLater::test_bad - 2 rows, 1 failed, mean 1",
            "*TestLater::test_sound - 2 rows, 0 failed, mean 3.5",
        ]
    )


@pytest.mark.parametrize("arguments", [(), ("--concurrent",)])
@pytest.mark.parametrize("plugin", [(), (*ASYNCIO, "-o", "asyncio_mode=auto")], ids=["alone", "asyncio"])
def test_evaluations_are_checked_for_tasks_as_well(
    check: Callable[..., pytest.RunResult], arguments: tuple[str, ...], plugin: tuple[str, ...]
) -> None:
    """Each by itself, since nobody knows whose a task is that neighbours leave behind."""
    source = """
        import asyncio
        import pytest
        from spanloom.evaluation import foreach
        @foreach("number", [1, 2])
        async def eval_sound(number, no_leaked_tasks): return number
        @foreach("number", [1, 2])
        async def eval_leak(number, no_leaked_tasks):
            asyncio.create_task(asyncio.sleep(100), name=f"lost {number}")
        @foreach("number", [1, 2])
        async def eval_other(number): return number
        class TestAll:
            @pytest.mark.usefixtures("no_leaked_tasks")
            @foreach("number", [1, 2])
            async def eval_method(self, number): return number
    """
    result = check(source, *arguments, *plugin)
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["2 tasks left behind:", "  lost 1: sleep, *", "  lost 2: sleep, *"])
    result.stdout.fnmatch_lines(["*eval_sound - 2 rows, 0 failed, mean 1.5"])


HANGING = (
    FIXTURES
    + """
async def hang(number):
    await asyncio.Event().wait()

async def test_hangs():
    await run_jobs([hang(1), hang(2)])

def test_is_quick():
    pass
"""
)


@pytest.mark.slow
def test_a_test_that_times_out_shows_what_is_in_flight(check: Callable[..., pytest.RunResult]) -> None:
    """Before pytest-timeout fails the test, the open events are looked at; other tests show nothing."""
    result = check(HANGING, *ASYNCIO, "-o", "asyncio_mode=auto", "-p", "pytest_timeout", "--timeout=1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*Captured spanloom: in flight call*",
            "batch hang, open for *s",
            "  job hang #0, open for *s",
            "  job hang #1, open for *s",
        ]
    )
    assert "\n".join(result.outlines).count("spanloom: in flight") == 1


def test_it_is_shown_where_the_process_ends_as_well(check: Callable[..., pytest.RunResult]) -> None:
    """By the method of threads pytest-timeout prints what it has, ours included, and exits."""
    timeout = ("-p", "pytest_timeout", "--timeout=2", "--timeout-method=thread")  # it has a quarter of that
    result = check(HANGING, *ASYNCIO, "-o", "asyncio_mode=auto", *timeout)
    output = [*result.outlines, *result.errlines]
    assert any(line == "spanloom: in flight after 1.50 s" for line in output)
    assert any(line.startswith("  job hang #1, open for") for line in output)
