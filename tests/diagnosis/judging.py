"""Judge the diagnosis by programs whose sickness, if they have one, is known: ``python judging.py FOLDER|FILE.py ...``.

Each program is run as its user would run it, by ``spanloom run``, and a few seconds later another process asks
``spanloom why``. What it should answer is in the program's header, which is blanked in the copy that runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spanloom.diagnosis.watch.asking import why_process
from spanloom.exceptions import NotWatchedError

ASKED_AFTER_S = 4.0
ANSWER_WITHIN_S = 20.0
STAGGER_S = 0.25  # a start costs some 0.3 s of a core; all at once, they would start late
AT_ONCE = 14
LINES_OFF = 2
HEADER = ("expect", "names", "line", "when")


@dataclass(frozen=True)
class Program:
    """A program and what its header promises."""

    path: Path
    codes: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    when: str
    sentence: str

    @property
    def healthy(self) -> bool:
        return self.codes == ("OK",)


def read(path: Path) -> Program:
    """Read the header of a program."""
    source = path.read_text(encoding="utf-8").splitlines()
    comments = [line.removeprefix("#").strip() for line in source[: header_length(source)]]
    fields = dict(line.split(": ", 1) for line in comments[: len(HEADER)])
    assert tuple(fields) == HEADER, f"{path}: not a header: {comments}"
    words = [] if fields["names"] == "-" else fields["names"].split(",")
    lines = [] if fields["line"] == "-" else fields["line"].split("|")
    return Program(
        path=path,
        codes=tuple(fields["expect"].split("|")),
        names=tuple(tuple(one.strip() for one in word.split("|")) for word in words),
        lines=tuple(map(int, lines)),
        when=fields["when"],
        sentence=" ".join(comments[len(HEADER) :]),
    )


def read_all(paths: Iterable[Path]) -> list[Program]:
    """Read the programs that are named, and those of the folders that are named, in order."""
    found = [file for path in paths for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    return [read(file) for file in found]


def header_length(source: Sequence[str]) -> int:
    """Count the comment lines at the top."""
    return next(number for number, line in enumerate(source) if not line.startswith("#"))


def blanked(path: Path) -> str:
    """Return the source with an empty line for every line of its header, so that line numbers stay."""
    source = path.read_text(encoding="utf-8").splitlines()
    top = header_length(source)
    return "\n".join([""] * top + source[top:]) + "\n"


Asking = Callable[[int, Path], Awaitable[tuple[list[dict[str, Any]], str]]]
"""Given a process and a folder: its findings, or what prevented an answer."""


@dataclass(frozen=True)
class Verdict:
    """What was answered about a program, and how good that is."""

    program: Program
    findings: list[dict[str, Any]]
    alive: bool
    answer_s: float
    trouble: str = ""
    output: str = ""
    missing: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        message = str(self.findings[0].get("message", "")) if self.findings else ""
        missing = tuple(
            "|".join(word) for word in self.program.names if not any(says(message, w) for w in word)
        )
        object.__setattr__(self, "missing", missing)

    @property
    def first(self) -> dict[str, Any]:
        return self.findings[0] if self.findings else {}

    @property
    def code_right(self) -> bool:
        if self.trouble:
            return False
        if self.program.healthy:
            return self.alive and not self.findings
        return self.first.get("code") in self.program.codes

    @property
    def right(self) -> bool:
        return self.code_right and (self.program.healthy or not self.missing)

    @property
    def line_right(self) -> bool | None:
        """Whether the place is right; None if none is expected, or if the code is wrong already."""
        if not self.code_right or not self.program.lines:
            return None
        _, _, number = str(self.first.get("location") or "").rpartition(":")
        return number.isdigit() and any(abs(int(number) - line) <= LINES_OFF for line in self.program.lines)

    def explain(self) -> str:
        """Say in one line what is wrong."""
        if self.trouble:
            return self.trouble
        if self.program.healthy and not self.alive:
            return f"it had ended already: {self.output[-200:]!r}"
        if self.code_right and not self.missing and self.line_right is not False:
            return ""
        said = f"{self.first.get('code')} at {self.first.get('location')}: {self.first.get('message')}"
        others = [f"{other.get('code')}" for other in self.findings[1:5]]
        more = f" (then {', '.join(others)})" if others else ""
        lacks = f"lacks {', '.join(self.missing)}; " if self.missing and self.code_right else ""
        place = f"not at {self.program.lines}; " if self.line_right is False else ""
        return f"{lacks}{place}said {said if self.findings else 'nothing'}{more}"


def says(message: str, word: str) -> bool:
    """Tell whether the message has the name as a whole word, in any case."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message, re.IGNORECASE) is not None


def clean_environment() -> dict[str, str]:
    """Return the environment without what would change what runs."""
    unwanted = ("SPANLOOM_", "OTEL_", "PYTHONASYNCIO", "PYTHONWARN")
    return {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}


async def judge(program: Program, number: int, folder: Path, ask: Asking) -> Verdict:
    """Run a copy of the program, ask what is wrong with it, and end it and its children."""
    copy = folder / f"program_{number:02}.py"
    copy.write_text(blanked(program.path), encoding="utf-8")
    output = (folder / f"program_{number:02}.log").open("w+b")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "spanloom", "run", copy.name),
        cwd=folder,
        env=clean_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        await asyncio.sleep(ASKED_AFTER_S)
        begun = time.monotonic()
        findings, trouble = await ask(process.pid, folder)
        took = time.monotonic() - begun
        alive = process.returncode is None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    output.seek(0)
    text = output.read().decode(errors="replace")
    output.close()
    return Verdict(program, findings, alive, took, trouble, text)


async def ask(pid: int, folder: Path) -> tuple[list[dict[str, Any]], str]:
    """Ask about a process; return the findings, or what prevented an answer."""
    why = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "spanloom", "why", str(pid), "--json"),
        cwd=folder,
        env=clean_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(why.communicate(), ANSWER_WITHIN_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):  # it may have ended this moment
            why.kill()
        await why.wait()
        return [], f"no answer within {ANSWER_WITHIN_S:.0f} s"
    said = err.decode(errors="replace").strip()
    try:
        findings = json.loads(out)
    except ValueError:
        return (
            [],
            f"no JSON, exit code {why.returncode}: {(out[:200].decode(errors='replace') or said)[-400:]}",
        )
    if not isinstance(findings, list):
        return [], f"not a list: {out[:200]!r}"
    return findings, ""


async def ask_directly(pid: int, _: Path) -> tuple[list[dict[str, Any]], str]:
    """Ask about a process as the command does, without a process of its own for that."""
    try:
        return await asyncio.to_thread(why_process, pid, timeout_s=ANSWER_WITHIN_S), ""
    except NotWatchedError as error:
        return [], str(error)


async def judge_all(
    programs: Sequence[Program], *, at_once: int = AT_ONCE, ask: Asking = ask
) -> list[Verdict]:
    """Judge programs side by side: they mostly sleep. Results are in the order of the input."""
    slots = asyncio.Semaphore(at_once)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(at_once))
    turn = asyncio.Lock()

    async def one(number: int, program: Program) -> Verdict:
        async with slots:
            async with turn:
                await asyncio.sleep(STAGGER_S)
            folder = Path(tempfile.mkdtemp(prefix="judged"))
            try:
                return await judge(program, number, folder, ask)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    return await asyncio.gather(*(one(number, program) for number, program in enumerate(programs)))


def table(verdicts: Sequence[Verdict]) -> str:
    """Write a line for each program, and the sums."""
    rows = []
    for verdict in verdicts:
        program = verdict.program
        marks = (
            "ok" if verdict.code_right else "MISS" if not program.healthy else "FALSE",
            "-" if program.healthy or not verdict.code_right else "LACKS" if verdict.missing else "ok",
            {None: "-", True: "ok", False: "OFF"}[verdict.line_right],
        )
        rows.append(
            f"{program.path.stem:36} {'|'.join(program.codes):24} {marks[0]:6}{marks[1]:6}{marks[2]:4}"
            f"{verdict.answer_s:5.1f} s  {verdict.explain()}".rstrip()
        )
    sick = [verdict for verdict in verdicts if not verdict.program.healthy]
    healthy = [verdict for verdict in verdicts if verdict.program.healthy]
    placed = [verdict for verdict in sick if verdict.line_right is not None]
    rows.append(
        f"sick: {sum(v.right for v in sick)} of {len(sick)} right (code alone: {sum(v.code_right for v in sick)}; "
        f"line right in {sum(bool(v.line_right) for v in placed)} of {len(placed)}); "
        f"healthy: {sum(v.right for v in healthy)} of {len(healthy)} without a finding"
    )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    parser.add_argument("--only", default="", help="programs whose name contains this")
    parser.add_argument("--json", type=Path, help="write the answers there")
    given = parser.parse_args()
    programs = [program for program in read_all(given.paths) if given.only in program.path.stem]
    begun = time.monotonic()
    verdicts = asyncio.run(judge_all(programs, at_once=given.at_once))
    sys.stdout.write(f"{table(verdicts)}\nin {time.monotonic() - begun:.0f} s\n")
    if given.json:
        answers = {v.program.path.stem: {"alive": v.alive, "findings": v.findings} for v in verdicts}
        given.json.write_text(json.dumps(answers, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
