"""An HTTP server of real text that is slow, busy or broken now and then, and always in the same way.

It serves the library sources and licence files of the Python that runs it, on a free port of 127.0.0.1:

* ``/index.json`` lists the documents, at least 2,000, as ``{"path": ..., "bytes": ...}``;
* ``/text/...`` is one document. Every answer is late, a few are very late, some are 429 with ``Retry-After``
  (seconds or a date), some are 500, and a few documents are never anything but 500. What happens to a document at
  which attempt depends on ``--seed`` and its place in the index, and on nothing else;
* ``/stats.json`` tells what it was asked for and what it answered, so that a client can check its own totals.

``python text_server.py`` prints its address and serves until its standard input ends: Ctrl-D by hand; from a
program, when that program closes the pipe or dies. `running` does that from a program.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http
import json
import math
import os
import random
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

ENOUGH_DOCUMENTS = 2_000
LARGEST_PART_BYTES = 32 * 1024

MEDIAN_DELAY_S = 0.035
DELAY_SPREAD = 0.35  # sigma of the lognormal: 9 of 10 answers take 20 to 60 ms
SLOW_DELAY_S = (1.0, 2.0)
SLOW_SHARE = 0.01
BUSY_SHARE = 0.05
FAILING_SHARE = 0.03
BROKEN_SHARE = 0.003
CLOCK_TOLERANCE_S = 0.01

# -- the documents -----------------------------------------------------------------------------------------------------


def read_library() -> dict[str, bytes]:
    """Return the documents by path. Large files are cut, the more so the fewer files there are."""
    files = {name: file.read_bytes() for name, file in find_files()}
    part_bytes = LARGEST_PART_BYTES
    documents = cut_all(files, part_bytes)
    while len(documents) < ENOUGH_DOCUMENTS and part_bytes > 1:
        part_bytes //= 2
        documents = cut_all(files, part_bytes)
    return documents


def find_files() -> Iterator[tuple[str, Path]]:
    """Yield name and place of each file to serve: the library's sources and licence, and those of packages."""
    library, packages = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
    for at, folders, names in os.walk(library):
        folders[:] = [
            name for name in folders if name != "site-packages"
        ]  # what is not in the list is not walked
        for name in names:
            file = Path(at, name)
            if name.endswith((".py", "LICENSE.txt")) and file.is_file():
                yield f"library/{file.relative_to(library).as_posix()}", file
    for file in packages.glob("*.dist-info/**/LICENSE*"):
        if file.is_file():
            yield f"packages/{file.relative_to(packages).as_posix()}", file


def cut_all(files: dict[str, bytes], part_bytes: int) -> dict[str, bytes]:
    """Cut every file into parts of at most `part_bytes`; a part has a path of its own."""
    return {
        quote(f"/text/{name}/{number}"): part
        for name, text in sorted(files.items())
        for number, part in enumerate(cut(text, part_bytes), start=1)
    }


def cut(text: bytes, part_bytes: int) -> Iterator[bytes]:
    """Yield `text` in parts of at most `part_bytes`, each of whole lines where that is possible."""
    start = 0
    while start < len(text):
        end = start + part_bytes
        if end < len(text):
            end = text.rfind(b"\n", start, end) + 1 or end
        yield text[start:end]
        start = end


# -- what goes wrong ---------------------------------------------------------------------------------------------------


class Fate(NamedTuple):
    """What happens to one request: the status, the seconds until the answer, and when to come again."""

    status: int
    delay_s: float
    retry_after_s: int | None = None
    as_date: bool = False


def fate_of(seed: int, place: int, attempt: int) -> Fate:
    """Return what happens to attempt number `attempt` of the document at one place of the index.

    The same every time and, because it goes by the place and not by the path, with every version of Python.
    """
    if random.Random(f"{seed} {place}").random() < BROKEN_SHARE:
        return Fate(500, MEDIAN_DELAY_S)
    chance = random.Random(f"{seed} {place} {attempt}")
    delay_s = chance.lognormvariate(math.log(MEDIAN_DELAY_S), DELAY_SPREAD)
    what = chance.random()
    if what < BUSY_SHARE:
        return Fate(429, delay_s, chance.choice((1, 1, 1, 2)), chance.random() < 0.3)
    if what < BUSY_SHARE + FAILING_SHARE:
        return Fate(500, delay_s)
    if what < BUSY_SHARE + FAILING_SHARE + SLOW_SHARE:
        delay_s = chance.uniform(*SLOW_DELAY_S)
    return Fate(200, delay_s)


# -- the server --------------------------------------------------------------------------------------------------------

ENDS_OF_A_CONNECTION = (
    ConnectionError,
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
    ValueError,  # not HTTP
    asyncio.CancelledError,  # the server stops; before 3.13, asyncio logs a stream's handler that ends cancelled
)


class TextServer:
    """Answers requests for documents and keeps the books."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.documents = read_library()
        paths = list(self.documents)
        random.Random(seed).shuffle(paths)  # so that the first hundred documents are a fair sample
        self.places = {path: place for place, path in enumerate(paths)}
        self.attempts: Counter[str] = Counter()
        self.not_before: dict[str, float] = {}
        self.too_early = 0
        self.answers: Counter[int] = Counter()
        self.bytes_sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after another, until the client leaves."""
        with contextlib.suppress(*ENDS_OF_A_CONNECTION):
            while not reader.at_eof():
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
                writer.write(await self.answer(method, path))
                await writer.drain()
        writer.close()

    async def answer(self, method: str, path: str) -> bytes:
        """Return the whole answer to one request."""
        if method != "GET":
            return response(405)
        if path == "/index.json":
            return response(200, as_json(self.index()), type="application/json")
        if path == "/stats.json":
            return response(200, as_json(self.stats()), type="application/json")
        if path not in self.documents:
            return response(404)
        return await self.document(path)

    async def document(self, path: str) -> bytes:
        """Return the answer for a document: what its fate at this attempt says."""
        self.attempts[path] += 1
        if time.time() < self.not_before.get(path, 0.0):
            self.too_early += 1
        fate = fate_of(self.seed, self.places[path], self.attempts[path])
        await asyncio.sleep(fate.delay_s)
        self.answers[fate.status] += 1
        if fate.status != 200:
            return response(fate.status, retry_after=self.come_again(path, fate))
        self.bytes_sent += len(self.documents[path])
        return response(200, self.documents[path])

    def come_again(self, path: str, fate: Fate) -> str | None:
        """Return the value of ``Retry-After``, and remember it, to notice who comes earlier."""
        if fate.retry_after_s is None:
            return None
        at = time.time() + fate.retry_after_s
        if fate.as_date:
            at = math.ceil(at)  # a date has no fractions of a second
        self.not_before[path] = at - CLOCK_TOLERANCE_S
        return formatdate(at, usegmt=True) if fate.as_date else str(fate.retry_after_s)

    def index(self) -> list[dict[str, object]]:
        """Return all documents, in an order that depends on the seed."""
        return [{"path": path, "bytes": len(self.documents[path])} for path in self.places]

    def stats(self) -> dict[str, object]:
        """Return what was asked for and what was answered so far; documents only, not this and not the index."""
        return {
            "requests": self.attempts.total(),
            "documents": len(self.attempts),
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "bytes": self.bytes_sent,
            "too_early": self.too_early,
        }


def as_json(value: object) -> bytes:
    """Encode `value`."""
    return json.dumps(value).encode()


def response(
    status: int, body: bytes = b"", *, type: str = "text/plain", retry_after: str | None = None
) -> bytes:
    """Return an HTTP/1.1 response that keeps the connection open."""
    lines = [
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
        f"Content-Type: {type}; charset=utf-8",
        f"Content-Length: {len(body)}",
    ]
    if retry_after is not None:
        lines.append(f"Retry-After: {retry_after}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


# -- its process -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(seed: int = 1) -> Iterator[str]:
    """Run the server in a process of its own while the block runs; give its address to the block."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--seed", str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the program that uses the server; the pipe tells the server
    )
    with process:  # closes its input, which stops it, and waits for it
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"the text server did not start (exit code {process.wait()})")
        yield address


async def serve_until_input_ends(texts: TextServer) -> None:
    """Serve, print the address, and return when standard input is at its end."""
    server = await asyncio.start_server(texts.serve, "127.0.0.1", 0, backlog=1024)
    try:
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        threading.Thread(target=watch_input, args=(loop, ended), daemon=True).start()
        await ended.wait()
    finally:
        server.close()


def watch_input(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """Wait for the end of standard input: it comes, too, when the parent is killed."""
    while os.read(0, 1024):
        pass
    with contextlib.suppress(RuntimeError):  # the loop was closed by Ctrl-C meanwhile
        loop.call_soon_threadsafe(ended.set)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(
        description="Serve text, slowly and unreliably, until standard input ends."
    )
    parser.add_argument("--seed", type=int, default=1, help="decides what goes wrong, and where (default: 1)")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_until_input_ends(TextServer(parser.parse_args().seed)))


if __name__ == "__main__":
    main()
