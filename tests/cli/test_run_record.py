"""What ``spanloom run`` records: every manager's events, how the script ended, and nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from spanloom.store.model import Record, Run
from spanloom.store.reader import StoreReader
from tests.environments import without_ours

TIMEOUT_S = 60
JOBS = """
    import asyncio
    from spanloom import CallbackManager, async_map, get_callback_manager, use_callback_manager

    async def job(n):
        await asyncio.sleep(0)

    def jobs(count):
        asyncio.run(async_map(job, range(count), limit=2))
"""


def run(
    folder: Path, program: str, *options: str, arguments: tuple[str, ...] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(textwrap.dedent(JOBS) + textwrap.dedent(program), encoding="utf-8")
    clean = without_ours()
    return subprocess.run(
        [sys.executable, "-m", "spanloom", "run", *options, "program.py", *arguments],
        cwd=folder,
        env=clean | variables,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )


def read(path: Path) -> tuple[Run, list[Record]]:
    """Return the one run that is recorded there, and its events."""
    with StoreReader(path) as store:
        (found,) = store.runs()
        return found, list(store.records(found))


def recorded(folder: Path, program: str, *options: str, **variables: str) -> tuple[Run, list[Record]]:
    done = run(folder, program, *options, **variables)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return read(folder / ".spanloom" / "runs.db")


def jobs_in(records: list[Record]) -> int:
    return sum(record.type == "job" for record in records)


MANAGERS = {
    "the default one": "jobs(5)",
    "one of its own": "with use_callback_manager(CallbackManager()): jobs(5)",
    "one without a flight recorder": "with use_callback_manager(CallbackManager(recorder=0)): jobs(5)",
    "one that is closed": "with CallbackManager() as m, use_callback_manager(m): jobs(5)",
    "handlers replaced": "get_callback_manager().set_handlers([])\njobs(5)",
    "several": "jobs(2)\nfor n in range(3):\n    with use_callback_manager(CallbackManager()): jobs(1)",
    "one per thread": (
        "import threading\n"
        "def work():\n    with use_callback_manager(CallbackManager()): jobs(1)\n"
        "threads = [threading.Thread(target=work) for _ in range(5)]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()"
    ),
    "at exit": "import atexit\natexit.register(jobs, 5)",
}


@pytest.mark.parametrize("case", MANAGERS)
def test_every_manager_is_recorded(tmp_path: Path, case: str) -> None:
    """Whatever manager the script uses, and whatever it does to it, in one run and without a loss."""
    found, records = recorded(tmp_path, MANAGERS[case])
    assert jobs_in(records) == 5
    assert all(record.status == "ok" for record in records)
    assert (found.produced, found.dropped) == (len(records), 0)


def test_what_is_known_of_the_run(tmp_path: Path) -> None:
    """Its name, its process, how it ended; and when, which is after its last event."""
    found, records = recorded(tmp_path, "jobs(1)")
    assert (found.name, found.state, found.exit_code, found.cwd) == ("program.py", "ended", 0, str(tmp_path))
    assert "program.py" in found.argv
    assert found.ended_wall_ns is not None
    assert found.ended_wall_ns - found.started_wall_ns >= max(record.end_ns or 0 for record in records) > 0


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("raise SystemExit(7)", 7),
        ("raise SystemExit('no')", 1),
        ("raise SystemExit(-1)", 255),
        ("raise SystemExit(256)", 0),
        ("raise SystemExit(2**70)", 255),
        ("1 / 0", 1),
        ("raise KeyboardInterrupt", 130),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(.3,)).start(); raise SystemExit(3)",
            3,
        ),
    ],
)
def test_the_exit_code_is_recorded(tmp_path: Path, program: str, code: int) -> None:
    """That of the shell; a run that ended with an exception has ended all the same."""
    done = run(tmp_path, "jobs(3)\n" + program)
    assert "cannot record" not in done.stderr
    assert done.returncode == (-signal.SIGINT if code == 130 else code)
    found, records = read(tmp_path / ".spanloom" / "runs.db")
    assert (found.state, found.exit_code, jobs_in(records)) == ("ended", code, 3)


@pytest.mark.parametrize(
    "end",
    [
        "os._exit(0)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "os.execv(sys.executable, ['python', '-c', '1'])",
    ],
)
def test_an_end_that_python_does_not_see_is_an_interruption(tmp_path: Path, end: str) -> None:
    """What had been written is there; that it was the end, nobody could write."""
    wait = """
        import os, signal, sys, time
        from spanloom.store.reader import StoreReader
        jobs(3)
        deadline = time.monotonic() + 30
        with StoreReader() as store:
            while time.monotonic() < deadline:
                found = store.summary(store.runs()[0])
                if (found.jobs, found.open) == (3, 0):
                    break
                time.sleep(0.02)
    """
    run(tmp_path, f"{textwrap.dedent(wait)}\n{end}")
    found, records = read(tmp_path / ".spanloom" / "runs.db")
    assert (found.state, found.exit_code, jobs_in(records)) == ("interrupted", None, 3)


def test_a_script_without_an_event_is_a_run(tmp_path: Path) -> None:
    """It is there from its start, and when it has ended."""
    done = run(
        tmp_path,
        """
        from spanloom.store.reader import StoreReader
        with StoreReader() as store:
            print([run.state for run in store.runs()])
        """,
    )
    assert done.stdout == "['running']\n"
    found, records = read(tmp_path / ".spanloom" / "runs.db")
    assert (found.state, records) == ("ended", [])


def test_a_forked_child_has_a_run_of_its_own(tmp_path: Path) -> None:
    """What it does is not lost, and not mixed with what its parent does."""
    run(
        tmp_path,
        "import os\njobs(2)\nchild = os.fork()\njobs(3 if child else 4)\nif child: os.waitpid(child, 0)",
    )
    with StoreReader(tmp_path / ".spanloom" / "runs.db") as store:
        runs = store.runs()
        assert sorted(jobs_in(list(store.records(found))) for found in runs) == [4, 5]
        assert len({found.pid for found in runs}) == 2


# -- options -----------------------------------------------------------------------------------------------------------


def test_where_it_is_recorded(tmp_path: Path) -> None:
    """The option, else the variable, else the folder; a chdir of the script changes nothing."""
    run(tmp_path, "jobs(1)", "--record", "sub/a.db", SPANLOOM_RECORD="b.db")
    run(tmp_path, "import os; os.chdir('/')\njobs(2)", SPANLOOM_RECORD="b.db")
    assert jobs_in(read(tmp_path / "sub" / "a.db")[1]) == 1
    assert jobs_in(read(tmp_path / "b.db")[1]) == 2
    assert not (tmp_path / ".spanloom").exists()


def test_deep_is_for_every_manager(tmp_path: Path) -> None:
    """Busy time is measured also where the script's own manager does not ask for it; without the option it is not."""
    own = "with use_callback_manager(CallbackManager()): jobs(3)"
    run(tmp_path, own, "--deep", "--record", "deep.db")
    run(tmp_path, own, "--record", "other.db")
    deep, other = (
        {record.busy_ns is not None for record in read(tmp_path / name)[1] if record.type == "job"}
        for name in ("deep.db", "other.db")
    )
    assert (deep, other) == ({True}, {False})
    run(tmp_path, own.replace("()", "(deep=True)", 1), "--record", "own.db")
    assert [read(tmp_path / name)[0].deep for name in ("deep.db", "other.db", "own.db")] == [
        True,
        False,
        True,
    ]


def test_payloads_are_recorded_when_asked_for(tmp_path: Path) -> None:
    """By default, nothing that the script attached is in the file."""
    program = "get_callback_manager().emit(name='a', payload={'question': 'an answer of mine'})"
    recorded(tmp_path, program)
    assert b"an answer of mine" not in (tmp_path / ".spanloom" / "runs.db").read_bytes()
    run(tmp_path, program, "--payloads", "--record", "with.db")
    (record,) = read(tmp_path / "with.db")[1]
    assert record.payload == {"question": "an answer of mine"}


def test_more_handlers(tmp_path: Path) -> None:
    """`--handlers` is `SPANLOOM_HANDLERS`; one that is called `record` does not record it again."""
    done = run(tmp_path, "jobs(3)", "--handlers", "debug,record")
    assert done.returncode == 0
    assert "job" in done.stderr  # the table of DebugHandler
    assert "WARNING" not in done.stderr.upper()
    assert jobs_in(read(tmp_path / ".spanloom" / "runs.db")[1]) == 3


def test_verbose_says_where_it_is(tmp_path: Path) -> None:
    """One line on standard error, at the end; without the option there is none."""
    done = run(tmp_path, "print('out')", "-v")
    found, _ = read(tmp_path / ".spanloom" / "runs.db")
    assert done.stderr == f"recorded as {found.run_id[:8]} in {tmp_path / '.spanloom' / 'runs.db'}\n"
    assert done.stdout == "out\n"


@pytest.mark.parametrize("path", ["/proc/nowhere/runs.db", "program.py", "/dev/full"])
def test_verbose_claims_no_record_that_there_is_not(tmp_path: Path, path: str) -> None:
    """Where nothing could be written, that is what it says; and the log does not speak of "more" than nothing."""
    done = run(tmp_path, "jobs(3)", "-v", "--record", path)
    assert "recorded as" not in done.stderr
    assert "nothing more" not in done.stderr
    place = path if path.startswith("/") else tmp_path / path
    assert done.stderr.splitlines()[-1] == f"not recorded: nothing could be written to {place}"


def test_options_after_the_script_are_the_scripts(tmp_path: Path) -> None:
    """Also those that `run` has, and `--help`."""
    done = run(
        tmp_path, "import sys; print(sys.argv[1:])", arguments=("--deep", "--record", "x", "--help", "-v")
    )
    assert done.stdout == "['--deep', '--record', 'x', '--help', '-v']\n"


# -- what can go wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/proc/nowhere/runs.db", "program.py", "/dev/full"])
def test_a_record_that_cannot_be_written_is_not_the_scripts_problem(tmp_path: Path, path: str) -> None:
    """The script runs as ever, with its own exit code; that nothing is recorded is said once."""
    done = run(tmp_path, "jobs(3)\nprint('done')\nraise SystemExit(5)", "--record", path)
    assert (done.returncode, done.stdout) == (5, "done\n")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert (tmp_path / "program.py").read_text().strip().endswith("raise SystemExit(5)")


def test_an_exception_that_nobody_could_print(tmp_path: Path) -> None:
    """Its own `__str__` fails: python says so, and so it is here."""
    program = "class Bad(Exception):\n    def __str__(self): raise ValueError\nraise Bad"
    done = run(tmp_path, program)
    assert done.returncode == 1
    assert "<exception str() failed>" in done.stderr


def test_nothing_heavy_is_loaded_for_it(tmp_path: Path) -> None:
    """Neither rich nor OpenTelemetry nor tqdm, nor what shows records: a script starts without them."""
    heavy = "('rich', 'opentelemetry', 'tqdm', 'spanloom.viewer')"
    done = run(
        tmp_path, f"import sys; print(sorted(name for name in sys.modules if name.startswith({heavy})))"
    )
    assert done.stdout == "[]\n"


@pytest.mark.skipif(sys.platform == "darwin", reason="its names are UTF-8")
def test_a_folder_that_is_no_utf8_can_be_worked_in(tmp_path: Path) -> None:
    """The script runs, and its record, which lies there, can be read."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    done = run(folder, "jobs(3)")
    assert (done.returncode, done.stderr) == (0, "")
    found, records = read(folder / ".spanloom" / "runs.db")
    assert (found.state, jobs_in(records)) == ("ended", 3)
