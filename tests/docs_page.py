"""Run the code blocks of one Markdown page as one program: ``python tests/docs_page.py PAGE``.

A page is a program of its own, in a process of its own, as its reader would run it:

* every ``python`` block runs, in order, in one namespace; blocks are plain scripts, so a coroutine is run
  with ``asyncio.run``;
* one that begins with a comment that is the name of a file, ``# crawl.py``, is written to that file instead;
* every new ``test_*`` function of a block is called after the block, an ``async`` one with ``asyncio.run``, with the
  fixture ``spanloom`` of the pytest plugin if it takes that;
* a ``console`` block after the line ``<!-- run -->`` is typed into a bash: each line that begins with ``$ ``, and what
  follows it is what it prints; ``spanloom`` and ``python`` are those of this Python;
* a ``text`` block after the line ``<!-- output -->`` is what the block before it prints to standard output
  and standard error. It is real output, pasted, so what differs from run to run compares equal: times with their
  unit, trace ids, ports of servers here, runs of blanks and of dashes. ``...`` stands for anything.

Blocks of other languages are not run.
"""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

from spanloom.testing import capture_everywhere

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
CONSOLE = re.compile(r"^<!-- run -->\n+```console\n(?P<typed>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (?P<command>.*)\n(?P<expected>(?:(?!\$ ).*\n)*)", re.MULTILINE)
NAMED = re.compile(r"# (\w+\.py)\n")
TIMEOUT_S = 100
OUTPUT = re.compile(r"^<!-- output -->\n+```text\n(?P<expected>.*?)^```$", re.MULTILINE | re.DOTALL)

VARIES = (
    (re.compile(r"\b\d[\d.,]* ?(?:ns|us|ms|s|min|h)\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<trace id>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8}\b"), "<run>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b"), "<date>"),
    (re.compile(r"\b127\.0\.0\.1:\d+\b"), "<server>"),
    (re.compile(r"-{4,}"), "----"),
)


def run_block(example: Example) -> None:
    """Run a block and the tests that it defines; keep what it prints."""
    if named := NAMED.match(str(example.parsed)):
        Path(named[1]).write_text(str(example.parsed), encoding="utf-8")
        return
    namespace, before = example.namespace, set(example.namespace)
    printed = namespace["__printed__"] = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        PythonEvaluator()(example)
        for name in sorted(set(namespace) - before):
            if name.startswith("test_"):
                with contextlib.ExitStack() as stack:
                    takes = inspect.signature(namespace[name]).parameters
                    given = [stack.enter_context(capture_everywhere())] if "spanloom" in takes else []
                    result = namespace[name](*given)
                    if inspect.iscoroutine(result):
                        asyncio.run(result)


def find_outputs(document: Document) -> Iterable[Region]:
    """Yield the blocks that say what was printed."""
    for match in OUTPUT.finditer(document.text):
        yield Region(match.start(), match.end(), match["expected"], compare_output)


def compare_output(example: Example) -> str | None:
    """Compare what the last block printed with what the page shows."""
    return difference(str(example.parsed), example.namespace["__printed__"].getvalue())


def difference(expected: str, actual: str) -> str | None:
    """Return how `actual` differs from what the page shows; ``None`` if it does not."""
    for pattern, stand_in in VARIES:
        actual, expected = pattern.sub(stand_in, actual), pattern.sub(stand_in, expected)
    checker = doctest.OutputChecker()
    if checker.check_output(expected, actual, FLAGS):
        return None
    return checker.output_difference(doctest.Example("", expected), actual, FLAGS)


def find_consoles(document: Document) -> Iterable[Region]:
    """Yield the blocks that are typed into a shell."""
    for match in CONSOLE.finditer(document.text):
        yield Region(match.start(), match.end(), match["typed"], run_console)


def run_console(example: Example) -> str | None:
    """Run each command of a block, and compare what it prints with what the page shows."""
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in (("python", ""), ("spanloom", "-m spanloom")):
            program = Path(folder, name)
            program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
            program.chmod(0o755)
        for typed in COMMAND.finditer(str(example.parsed)):
            done = subprocess.run(
                ["bash", "-c", typed["command"]],
                env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                timeout=TIMEOUT_S,
                check=False,
            )
            if wrong := difference(typed["expected"], done.stdout):
                return f"$ {typed['command']}\n{wrong}"
    return None


def main(page: Path) -> int:
    """Run `page`; return the number of blocks in it."""
    document = Sybil([CodeBlockParser("python", run_block), find_outputs, find_consoles]).parse(page)
    # What a class or dataclass defined in a block looks its module up by.
    document.namespace["__name__"] = "__main__"
    examples = list(document.examples())
    for example in examples:
        try:
            example.evaluate()
        except BaseException:
            sys.stderr.write(f"{page}, line {example.line}:\n")
            if "__printed__" in example.namespace:
                sys.stderr.write(example.namespace["__printed__"].getvalue())
            raise
    return len(examples)


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]))} blocks\n")
