"""``spanloom run``: the same program as without, and a record of it.

What must not differ is tested as that: the program runs under ``python`` and under ``spanloom run``, and everything
that can be seen from outside is compared.
"""

from __future__ import annotations

import py_compile
import re
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.environments import without_ours

TIMEOUT_S = 60
RUN = ["-m", "spanloom", "run"]


class Seen(NamedTuple):
    """What can be seen of a process from outside."""

    code: int
    out: str
    err: str


def write(folder: Path, **files: str) -> None:
    """Write programs; ``a_in_b`` is the file ``a.py`` in the folder ``b``."""
    for name, text in files.items():
        file, _, parent = name.partition("_in_")
        path = folder / parent / f"{file}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")


def start(
    cwd: Path, *arguments: str, python: tuple[str, ...] = (), **variables: str
) -> subprocess.Popen[str]:
    clean = without_ours()
    return subprocess.Popen(
        [sys.executable, *python, *arguments],
        cwd=cwd,
        env=clean | {"PYTHONIOENCODING": "utf-8", "SPANLOOM_RECORD": str(cwd / "runs.db")} | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def see(cwd: Path, *arguments: str, input: str = "", python: tuple[str, ...] = (), **variables: str) -> Seen:
    with start(cwd, *arguments, python=python, **variables) as process:
        try:
            out, err = process.communicate(input, timeout=TIMEOUT_S)
        finally:
            process.kill()
    return Seen(process.returncode, out, re.sub(r"0x\w+", "0x", err))


def same(cwd: Path, *arguments: str, input: str = "", python: tuple[str, ...] = (), **variables: str) -> Seen:
    """Run it both ways; return what was seen, which is the same."""
    plain = see(cwd, *arguments, input=input, python=python, **variables)
    recorded = see(cwd, *RUN, *arguments, input=input, python=python, **variables)
    assert recorded == plain
    return plain


COMMAND = """
    import sys
    from spanloom.cli import main
    if __name__ == "__main__":
        sys.exit(main())
"""
"""The file that an installer makes of the entry point ``spanloom``."""

# -- how it ends -------------------------------------------------------------------------------------------------------

ENDS = {
    "nothing": ("pass", 0),
    "exit 3": ("import sys; sys.exit(3)", 3),
    "exit none": ("import sys; sys.exit()", 0),
    "exit true": ("import sys; sys.exit(True)", 1),
    "exit 256": ("import sys; sys.exit(256)", 0),
    "exit -1": ("import sys; sys.exit(-1)", 255),
    "exit text": ("import sys; sys.exit('no such luck')", 1),
    "exit object": ("import sys; sys.exit([1, 2])", 1),
    "raise": ("raise ValueError('a')", 1),
    "raise deep": ("def f(n):\n    return 1 / n if not n else f(n - 1)\nf(3)", 1),
    "chain": ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e", 1),
    "context": ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    [][0]", 1),
    "group": ("raise ExceptionGroup('two', [ValueError(1), TypeError(2)])", 1),
    "note": ("e = ValueError('x'); e.add_note('look here'); raise e", 1),
    "base": ("class Mine(BaseException): pass\nraise Mine('m')", 1),
    "syntax": ("def f(:\n    pass", 1),
    "indent": ("def f():\npass", 1),
    "import": ("import no_such_module_at_all", 1),
    "recursion": ("def f(): f()\ntry:\n    f()\nexcept RecursionError: print('deep')", 0),
    "keyboard": ("raise KeyboardInterrupt", -signal.SIGINT),
    "keyboard text": ("raise KeyboardInterrupt('from here')", -signal.SIGINT),
    "generator exit": ("raise GeneratorExit", 1),
    "own hook": (
        "import sys\nsys.excepthook = lambda *a: print(a[0], a[2].tb_lineno, a[2] is sys.last_traceback)\n1/0",
        1,
    ),
    "hook fails": ("import sys\ndef hook(*a):\n    raise OSError('hook')\nsys.excepthook = hook\n1/0", 1),
    "hook kept": ("import sys\nprint(sys.excepthook is sys.__excepthook__)", 0),
    "hook without traceback": (
        "import sys\ndef hook(*a):\n    sys.last_traceback = None\nsys.excepthook = hook\n1/0",
        1,
    ),
    "hook at exit": (
        "import sys, atexit\natexit.register(lambda: print(sys.excepthook is sys.__excepthook__))\n1/0",
        1,
    ),
    "os exit": ("import os; print('x', flush=True); os._exit(7)", 7),
    "abort": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "term": ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "asyncio": ("import asyncio\nasync def m():\n    await asyncio.sleep(0)\n    1/0\nasyncio.run(m())", 1),
    "asyncio exit": ("import asyncio, sys\nasync def m():\n    sys.exit(5)\nasyncio.run(m())", 5),
    "gather before a loop": (
        "import asyncio\nasync def f(): return 1\nbefore = asyncio.gather(f(), f())\n"
        "print(asyncio.get_event_loop().run_until_complete(before))",
        int(sys.version_info >= (3, 14)),
    ),
    "future before a loop": (
        "import asyncio\nasync def f(): return 1\nasyncio.ensure_future(f())",
        int(sys.version_info >= (3, 14)),
    ),
    "exit hook": ("import atexit\natexit.register(print, 'first')\natexit.register(print, 'second')", 0),
    "exit hook fails": ("import atexit\natexit.register(lambda: 1 / 0)", 0),
    "thread": ("import threading\nthreading.Thread(target=lambda: print('t')).start()", 0),
    "thread fails": ("import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start(); t.join()", 0),
    "slow thread": (
        "import threading, time, sys\n"
        "threading.Thread(target=lambda: (time.sleep(.3), print('late'))).start()\n"
        "sys.exit(4)",
        4,
    ),
    "daemon": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        0,
    ),
    "del": ("class D:\n    def __del__(self): print('gone')\nd = D()", 0),
    "exec": (
        "import os, sys; sys.stdout.flush(); os.execv(sys.executable, [sys.executable, '-c', 'print(1); exit(9)'])",
        9,
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_it_ends_the_same_way(tmp_path: Path, case: str) -> None:
    """Exit code or signal, output, and traceback to the last letter."""
    program, code = ENDS[case]
    write(tmp_path, program=program)
    assert same(tmp_path, "program.py").code == code


@pytest.mark.parametrize("case", ENDS)
def test_it_ends_the_same_way_under_the_command(tmp_path: Path, case: str) -> None:
    """The same of the installed ``spanloom``, whose ``__main__`` is a file of its own and not run by ``-m``.

    With memory that is overwritten when it is freed: what the interpreter still does with it does not go well by luck.
    """
    program, code = ENDS[case]
    write(tmp_path, program=program, command_in_bin=COMMAND)
    plain = see(tmp_path, "program.py", PYTHONMALLOC="debug")
    assert plain.code == code
    assert see(tmp_path, "bin/command.py", "run", "program.py", PYTHONMALLOC="debug") == plain


@pytest.mark.parametrize("case", ["raise deep", "keyboard", "exit 3", "syntax", "import", "group"])
def test_a_module_ends_the_same_way(tmp_path: Path, case: str) -> None:
    """The same of ``-m``, whose traceback has frames of the interpreter's own."""
    program, code = ENDS[case]
    write(tmp_path, program_in_package=program, __init___in_package="")
    assert same(tmp_path, "-m", "package.program").code == code


EXIT_IN_A_TASK = """
    import asyncio

    async def leave():
        raise SystemExit(8)

    async def main():
        await asyncio.gather(leave(), asyncio.sleep(5))

    asyncio.run(main())
"""


@pytest.mark.parametrize("module", [False, True], ids=["script", "module"])
def test_a_task_that_still_has_the_exit_is_told_of_without_us(tmp_path: Path, module: bool) -> None:
    """What asyncio complains of, a ``SystemExit`` that nobody has seen, has the traceback that it has without."""
    write(tmp_path, program=EXIT_IN_A_TASK)
    arguments = ["-m", "program"] if module else ["program.py"]
    plain, recorded = see(tmp_path, *arguments), see(tmp_path, *RUN, *arguments)
    assert plain.code == recorded.code == 8
    assert "exception was never retrieved" in plain.err
    # Before 3.12 an exception has only the frames below the last one that has caught it.
    above = plain.err.splitlines()[3] if sys.version_info < (3, 12) else "Traceback"
    assert recorded.err[recorded.err.index(above) :] == plain.err[plain.err.index(above) :]
    assert "spanloom" not in recorded.err


def test_what_cannot_be_started_is_said_the_same_way(tmp_path: Path) -> None:
    """A missing file, a folder without a main program, a missing module: python's own words and exit code."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "locked.py").write_text("")
    assert "can't open file" in same(tmp_path, "nothing.py").err
    assert "can't find '__main__' module" in same(tmp_path, "empty").err
    assert "No module named nothing" in same(tmp_path, "-m", "nothing").err
    assert "No module named 'nothing'" in same(tmp_path, "-m", "nothing.at.all").err
    assert "is a package and cannot be directly executed" in same(tmp_path, "-m", "email").err


# -- what it sees ------------------------------------------------------------------------------------------------------

LOOK = """
    import inspect, os, sys, __main__

    def here():
        pass

    print(__name__, __file__, __spec__ and __spec__.name, __package__, __doc__, __builtins__)
    print(sorted(vars()), __annotations__ if sys.version_info < (3, 14) else None)
    print(type(__loader__).__name__, getattr(__loader__, "path", None))
    print(sys.argv, sys.path, os.getcwd(), __main__.here is here, sys.modules[__name__] is __main__)
    print(sys.flags, sys.warnoptions, sys._xoptions, sys.dont_write_bytecode)
    print(inspect.getsource(here), inspect.getfile(here), here.__module__)
    print(sys.stdout.line_buffering, sys.stdout.write_through, sys.stdin.isatty(), sys.stdout.encoding)
    print(sorted(name for name in os.environ if name.startswith(("SPANLOOM", "PYTHON"))))
    print(sys.getrecursionlimit(), sys.getswitchinterval(), sys.gettrace(), sys.getprofile())
    print(os.getpgrp() == os.getpgid(0), os.getsid(0), os.getppid() > 1)
"""


@pytest.mark.parametrize("path", ["look.py", "./look.py", "sub/../look.py", "link.py", "{here}/look.py"])
def test_a_script_sees_the_same(tmp_path: Path, path: str) -> None:
    """Its names, its arguments, where it is, what it imports from, and what its options were."""
    write(tmp_path, look=LOOK, other_in_sub="")
    (tmp_path / "link.py").symlink_to(tmp_path / "look.py")
    arguments = ("-x", "--json", "a b", "--", "-m", "", "--record")
    assert "--record" in same(tmp_path, path.format(here=tmp_path), *arguments).out


def test_a_module_sees_the_same(tmp_path: Path) -> None:
    """The same of ``-m``, of a package's ``__main__``, and of options that follow the name."""
    write(tmp_path, look=LOOK, __main___in_package=LOOK)
    same(tmp_path, "-m", "look", "-x", "--deep", "--")
    same(tmp_path, "-mlook", "-m", "other")
    assert "package.__main__" in same(tmp_path, "-m", "package", "--help").out


def test_a_folder_a_zip_and_a_pyc_see_the_same(tmp_path: Path) -> None:
    """Whatever python runs is run."""
    write(tmp_path, __main___in_folder=LOOK, look=LOOK)
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as file:
        file.writestr("__main__.py", "import sys; print(sys.argv, sys.path[0], __file__); 1 / 0")
    same(tmp_path, "folder", "a")
    assert "ZeroDivisionError" in same(tmp_path, "app.pyz", "a").err
    py_compile.compile(str(tmp_path / "look.py"), str(tmp_path / "compiled.pyc"))
    assert "compiled" in same(tmp_path, "compiled.pyc").out


@pytest.mark.parametrize(
    "options", [("-P",), ("-O",), ("-W", "error"), ("-X", "dev"), ("-u",), ("-B", "-X", "utf8=0")]
)
def test_options_of_python_hold(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Those in front of ``-m spanloom`` are the script's, ``-P`` for one; so are the ``PYTHON...`` variables."""
    write(tmp_path, look=LOOK)
    same(tmp_path, "look.py", python=options)


def test_variables_of_python_hold(tmp_path: Path) -> None:
    """``PYTHONSAFEPATH`` and ``PYTHONUNBUFFERED`` mean what they mean without."""
    write(tmp_path, look=LOOK)
    same(tmp_path, "look.py", PYTHONSAFEPATH="1")
    same(tmp_path, "look.py", PYTHONUNBUFFERED="1", PYTHONWARNINGS="ignore")


def test_modules_beside_the_script_are_found_first(tmp_path: Path) -> None:
    """A script's own `helper`, and also its own `json`, as bad an idea as that is."""
    write(tmp_path, program="import helper; helper.hello()", helper="def hello(): print('hello', __name__)")
    assert same(tmp_path, "program.py").out == "hello helper\n"


FROM_STDIN = """\
import inspect, sys
print(sys.argv, repr(sys.path[0]), __name__, globals().get("__file__"), __spec__, __loader__, __doc__)
print(repr(sys.stdin.read()), inspect.currentframe().f_code.co_filename, sys.modules["__main__"].__dict__ is globals())
{end}
"""


@pytest.mark.parametrize("end", ["sys.exit(3)", "1 / 0", "def broken(", "print('é')", ""])
def test_a_program_in_the_standard_input_sees_the_same(tmp_path: Path, end: str) -> None:
    """``-`` instead of a script: its arguments, names, exit code and traceback are those of ``python -``."""
    seen = same(tmp_path, "-", "-m", "--deep", input=FROM_STDIN.format(end=end))
    assert seen.out.startswith("['-', '-m', '--deep'] '' __main__ <stdin> None") or end == "def broken("


@pytest.mark.parametrize(
    ("option", "given", "known"),
    [("--handlers", "debug, nosuch", "debug, "), ("--instrument", "nosuch", "all, none, asyncio")],
)
def test_a_name_that_nobody_knows_is_an_error_of_use(
    tmp_path: Path, option: str, given: str, known: str
) -> None:
    """A handler or a library that there is not: nothing runs, exit code 2, and the message lists those there are."""
    write(tmp_path, program="print('it runs')")
    seen = see(tmp_path, *RUN, option, given, "program.py")
    assert (seen.code, seen.out) == (2, "")
    assert option in seen.err
    assert "'nosuch'; there are: " in (err := " ".join(seen.err.split()))
    assert known in err


def test_a_name_that_nobody_knows_in_the_environment_is_a_warning(tmp_path: Path) -> None:
    """The environment is not the command's: a program is not kept from running by it."""
    write(tmp_path, program="import spanloom\nspanloom.get_callback_manager()\nprint('it runs')")
    seen = see(tmp_path, *RUN, "program.py", SPANLOOM_HANDLERS="nosuch", SPANLOOM_INSTRUMENT="nothing")
    assert (seen.code, seen.out) == (0, "it runs\n")
    assert "'nosuch'" in seen.err
    assert "'nothing'" in seen.err


def test_standard_input_is_the_scripts(tmp_path: Path) -> None:
    """All of it, from the first byte, and its end."""
    write(
        tmp_path,
        program="import sys; print(input()); print(sys.stdin.read()); print(sys.stdin.buffer.read())",
    )
    assert same(tmp_path, "program.py", input="one\ntwo\nthree").out == "one\ntwo\nthree\nb''\n"


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_processes_of_its_own_find_its_functions(tmp_path: Path, method: str) -> None:
    """`multiprocessing` and `pickle` find what is defined in ``__main__``, however the children are made."""
    write(
        tmp_path,
        program=f"""
        import multiprocessing, pickle, sys
        from concurrent.futures import ProcessPoolExecutor

        class Point:
            x = 1

        def double(n):
            return n * 2, __name__ == "__main__", sys.argv

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                print(list(pool.map(double, range(3))))
            print(pickle.loads(pickle.dumps(Point)) is Point, pickle.dumps(double))
        """,
    )
    seen = same(tmp_path, "program.py", "a")
    assert seen.code == 0, seen.err


# -- signals -----------------------------------------------------------------------------------------------------------

WAIT = """
    import os, signal, sys, threading, time
    {before}
    def ready():
        clock, looks = time.pthread_getcpuclockid(threading.main_thread().ident), []
        while len(looks) < 4 or len(set(looks[-4:])) > 1:  # until the main thread sleeps
            time.sleep(0.05)
            looks.append(time.clock_gettime_ns(clock))
        os.write(1, b"ready\\n")
    threading.Thread(target=ready).start()
    try:
        time.sleep(60)
    finally:
        print("finally")
"""


@pytest.mark.parametrize(
    ("before", "number"),
    [
        ("", signal.SIGINT),
        ("", signal.SIGTERM),
        ("", signal.SIGHUP),
        ("signal.signal(signal.SIGTERM, lambda *a: sys.exit(12))", signal.SIGTERM),
        ("signal.signal(signal.SIGINT, signal.SIG_DFL)", signal.SIGINT),
    ],
)
def test_signals_do_what_they_do(tmp_path: Path, before: str, number: signal.Signals) -> None:
    """The process that was started gets the signal, and dies of it, or not, as the script alone would."""
    write(tmp_path, program=WAIT.format(before=before))
    seen = []
    for command in (["program.py"], [*RUN, "program.py"]):
        with start(tmp_path, *command) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            out, err = process.communicate(timeout=TIMEOUT_S)
            seen.append(Seen(process.returncode, out, err))
    assert seen[0] == seen[1]


def test_ctrl_c_in_a_batch_does_what_it_does(tmp_path: Path) -> None:
    """`asyncio.run` has its own way with SIGINT: the tasks are cancelled, and the process dies of the signal."""
    write(
        tmp_path,
        program="""
        import asyncio
        from spanloom import async_map

        async def job(n):
            print("started", n, flush=True)
            try:
                await asyncio.sleep(60)
            finally:
                print("stopped", n, flush=True)

        asyncio.run(async_map(job, range(5), limit=2))
        """,
    )
    seen = []
    for command in (["program.py"], [*RUN, "program.py"]):
        with start(tmp_path, *command) as process:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == ["started 0\n", "started 1\n"]
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=TIMEOUT_S)
            seen.append(Seen(process.returncode, out, err))
    assert seen[0] == seen[1]
    assert seen[0].code == -signal.SIGINT


def test_the_process_is_the_one_that_was_started(tmp_path: Path) -> None:
    """No process and no thread stands between: the script has the id that its starter knows."""
    write(tmp_path, program="import os, threading; print(os.getpid(), threading.active_count())")
    with start(tmp_path, *RUN, "program.py") as process:
        out, _ = process.communicate(timeout=TIMEOUT_S)
    assert out == f"{process.pid} 1\n"
