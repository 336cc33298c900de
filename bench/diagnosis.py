"""What other tools say about the programs that judge the diagnosis.

``python -m bench.diagnosis FOLDER --peers PYTHON``

PYTHON is that of an environment with bench/requirements-diagnosis.txt and spanloom, for the programs that import it.
Each tool is used as its documentation tells, on the program with its header blanked, four seconds after the start:

- aiomonitor: started in the program by a launcher, tasks hooked; what ``ps`` prints, ``where`` of each task, and
  ``ps-terminated``
- py-spy: ``py-spy dump --pid``
- faulthandler: ``dump_traceback_later(4)``
- detangle: the program's ``asyncio.run`` is ``detangle.run``, in virtual time, with the defaults
- asyncio pstree: ``python -m asyncio pstree PID``, where ``--python314`` names a Python that has it
- spanloom: ``spanloom run``, then ``spanloom why PID --json``

What counts: `cause` if it says what is wrong, with the names that the header wants; `line` if it shows the line
that the header wants, among others, and leaves the conclusion to its reader; `alarm` if it says that something is
wrong, but not this. A dump cannot accuse a healthy program, and cannot acquit it either.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tests.diagnosis.judging import (
    LINES_OFF,
    Program,
    Verdict,
    ask,
    blanked,
    clean_environment,
    read_all,
    says,
)

LOOK_AFTER_S = 4.0
GIVE_UP_S = 60.0
AT_ONCE = 4

AIOMONITOR = """
import asyncio, os, runpy, sys, threading, time
import aiomonitor
def look(monitor):
    time.sleep(4)
    for task in monitor.format_running_task_list("", False):
        print("TASK", task)
        for item in monitor.format_running_task_stack(task.task_id):
            print(item.content)
    for task in monitor.format_terminated_task_list("", False):
        print("ENDED", task)
    sys.stdout.flush()
    os._exit(0)
own_run = asyncio.run
def run(main, **options):
    asyncio.run = own_run  # the monitor's thread uses it, too
    async def monitored():
        with aiomonitor.start_monitor(
            asyncio.get_running_loop(), port=0, webui_port=0, console_enabled=False, hook_task_factory=True
        ) as monitor:
            threading.Thread(target=look, args=(monitor,), daemon=True).start()
            return await main
    return own_run(monitored(), **options)
asyncio.run = run
runpy.run_path(sys.argv[1], run_name="__main__")
"""
FAULTHANDLER = """
import faulthandler, runpy, sys
faulthandler.dump_traceback_later(4, exit=True)
runpy.run_path(sys.argv[1], run_name="__main__")
"""
DETANGLE = """
import asyncio, runpy, sys, traceback
import detangle
asyncio.run = detangle.run
try:
    runpy.run_path(sys.argv[1], run_name="__main__")
except Exception as error:
    print("DETANGLE", type(error).__name__, error)
    traceback.print_exc(file=sys.stdout)
"""


async def started(command: Sequence[str], folder: Path) -> asyncio.subprocess.Process:
    """Start a program in a session of its own; what it prints goes to a file there."""
    with (folder / "output").open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


async def killed(process: asyncio.subprocess.Process, folder: Path) -> str:
    """End a program and its children; return what it printed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    return (folder / "output").read_text(encoding="utf-8", errors="replace")


async def launched(command: Sequence[str], folder: Path, seconds: float) -> str:
    """Run a program for so long, or to its end; return what it printed."""
    process = await started(command, folder)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), seconds)
    return await killed(process, folder)


async def output_of(*command: str) -> str:
    """Run a command that looks at another process; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 20)
    except TimeoutError:
        process.kill()
        out, _ = await process.communicate()
    return out.decode(errors="replace")


def shows_line(program: Program, copy: Path, text: str) -> bool:
    """Tell whether the text names a line that the header wants."""
    shown = re.findall(rf"{re.escape(copy.name)}[\"']?(?::|, line )(\d+)", text)
    return any(abs(int(number) - line) <= LINES_OFF for number in shown for line in program.lines)


class Bench:
    """The tools, each a method that runs a program and returns a cell of the table."""

    def __init__(self, peers: str, python314: str | None) -> None:
        self.peers = peers
        self.python314 = python314
        self.spoken: dict[tuple[str, str], str] = {}

    def tools(self) -> dict[str, Callable[[Program, Path], Awaitable[str]]]:
        tools = {
            "spanloom why": self.spanloom,
            "detangle": self.detangle,
            "aiomonitor": self.aiomonitor,
            "py-spy dump": self.py_spy,
            "faulthandler": self.faulthandler,
        }
        return tools | ({"asyncio pstree": self.pstree} if self.python314 else {})

    async def spanloom(self, program: Program, copy: Path) -> str:
        process = await started([sys.executable, "-m", "spanloom", "run", copy.name], copy.parent)
        await asyncio.sleep(LOOK_AFTER_S)
        findings, trouble = await ask(process.pid, copy.parent)
        alive = process.returncode is None
        await killed(process, copy.parent)
        verdict = Verdict(program, findings, alive, 0.0, trouble)
        self.spoken[program.path.stem, "spanloom why"] = str(findings or trouble)
        if verdict.right:
            return "silent" if program.healthy else "cause"
        return "alarm" if findings else "-"

    async def detangle(self, program: Program, copy: Path) -> str:
        text = await launched([self.peers, "-c", DETANGLE, copy.name], copy.parent, GIVE_UP_S)
        self.spoken[program.path.stem, "detangle"] = text
        _, told, said = text.partition("DETANGLE ")
        if said.startswith(("RealIOError", "SimulationError", "ConnectionRefusedError")):
            return (
                "cannot run it"  # it simulates the network and has no signals, nor real sockets or children
            )
        if said.startswith("NestedLimiterError"):
            return "had ended"  # our limiter refuses the wait, with the ring in the error, whoever runs the program
        if program.healthy:
            return "alarm" if told else "silent"
        if not told:
            return "-"
        if all(any(says(said, word) for word in words) for words in program.names):
            return "cause"
        return "line" if shows_line(program, copy, said) else "alarm"

    async def aiomonitor(self, program: Program, copy: Path) -> str:
        command = [self.peers, "-c", AIOMONITOR, copy.name]
        said = await launched(command, copy.parent, GIVE_UP_S)
        return self.dump("aiomonitor", program, copy, said.partition("TASK ")[2])

    async def faulthandler(self, program: Program, copy: Path) -> str:
        command = [self.peers, "-c", FAULTHANDLER, copy.name]
        said = await launched(command, copy.parent, GIVE_UP_S)
        return self.dump("faulthandler", program, copy, said.partition("Timeout (")[2])

    async def py_spy(self, program: Program, copy: Path) -> str:
        tool = str(Path(self.peers).with_name("py-spy"))
        return await self.attached("py-spy dump", program, copy, self.peers, [tool, "dump", "--pid"])

    async def pstree(self, program: Program, copy: Path) -> str:
        python = str(self.python314)
        name = "asyncio pstree"
        cell = await self.attached(name, program, copy, python, [python, "-m", "asyncio", "pstree"])
        said = self.spoken[program.path.stem, name]
        if "contains cycles" in said:  # of awaits, and that is a verdict
            return (
                "cause"
                if all(any(says(said, word) for word in words) for words in program.names)
                else "alarm"
            )
        return "had ended" if "No such file or directory: '/proc/" in said else cell

    async def attached(
        self, name: str, program: Program, copy: Path, python: str, command: Sequence[str]
    ) -> str:
        """Run the program by `python` and look at its process by `command`."""
        process = await started([python, copy.name], copy.parent)
        await asyncio.sleep(LOOK_AFTER_S)
        text = await output_of(*command, str(process.pid))
        await killed(process, copy.parent)
        return self.dump(name, program, copy, text)

    def dump(self, name: str, program: Program, copy: Path, text: str) -> str:
        """Judge a dump, which draws no conclusion: whether the line is in it."""
        self.spoken[program.path.stem, name] = text
        if not text or "No such process" in text:
            return "had ended"
        if program.healthy:
            return "no verdict"
        return "line" if shows_line(program, copy, text) else "-"


async def compare(
    bench: Bench, programs: Sequence[Program], known: dict[str, dict[str, str]]
) -> dict[str, dict[str, str]]:
    """Run every tool on every program, but for those that are known; return tool -> program -> cell."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(tool: Callable[[Program, Path], Awaitable[str]], number: int, program: Program) -> str:
        async with slots:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                copy = Path(folder) / f"program_{number:02}.py"
                copy.write_text(blanked(program.path), encoding="utf-8")
                return await tool(program, copy)

    found = {}
    for name, tool in bench.tools().items():
        if name in known:
            found[name] = known[name]
            continue
        cells = await asyncio.gather(*(one(tool, n, program) for n, program in enumerate(programs)))
        found[name] = {program.path.stem: cell for program, cell in zip(programs, cells, strict=True)}
    return found


def table(found: dict[str, dict[str, str]], programs: Sequence[Program]) -> str:
    """Write the Markdown table, the sums first."""
    tools = list(found)
    lines = [f"| | {' | '.join(tools)} |", f"| --- |{' --- |' * len(tools)}"]
    sick = [program.path.stem for program in programs if not program.healthy]
    fine = [program.path.stem for program in programs if program.healthy]
    counts = {tool: Counter(found[tool][name] for name in sick) for tool in tools}
    false = {tool: Counter(found[tool][name] for name in fine) for tool in tools}
    for label, word in (
        ("names the cause", "cause"),
        ("shows the line", "line"),
        ("says that something is wrong, and no more", "alarm"),
    ):
        lines.append(
            f"| {label}, of {len(sick)} sick | {' | '.join(str(counts[tool][word]) for tool in tools)} |"
        )
    accused = (str(false[tool]["alarm"]) if not false[tool]["no verdict"] else "no verdict" for tool in tools)
    lines.append(f"| accuses, of {len(fine)} healthy | {' | '.join(accused)} |")
    lines += ["", f"| program | code | {' | '.join(tools)} |", f"| --- | --- |{' --- |' * len(tools)}"]
    for program in programs:
        name = program.path.stem
        cells = " | ".join(found[tool][name] for tool in tools)
        lines.append(f"| `{name}` | {'`, `'.join(program.codes).join('``')} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--peers", required=True, help="the Python of the environment with the other tools")
    parser.add_argument("--python314", help="a Python that has `python -m asyncio pstree`")
    parser.add_argument("--only", default="", help="programs whose name contains this")
    parser.add_argument(
        "--cells", type=Path, help="a file for the cells; tools that are in it are not run again"
    )
    parser.add_argument("--again", action="append", default=[], help="a tool that is run again all the same")
    parser.add_argument("--said", type=Path, help="a folder for what each tool printed")
    given = parser.parse_args()
    programs = [program for program in read_all(given.paths) if given.only in program.path.stem]
    bench = Bench(given.peers, given.python314)
    known = json.loads(given.cells.read_text()) if given.cells and given.cells.exists() else {}
    known = {tool: cells for tool, cells in known.items() if tool not in given.again}
    found = asyncio.run(compare(bench, programs, known))
    print(table(found, programs))
    if given.cells:
        given.cells.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if given.said:
        given.said.mkdir(parents=True, exist_ok=True)
        for (program, tool), text in bench.spoken.items():
            (given.said / f"{program}.{tool.replace(' ', '-')}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
