"""The server of the examples: real text, trouble that repeats, honest books, and a quiet end."""

from __future__ import annotations

import email.utils
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

SERVER = Path(__file__).resolve().parents[2] / "examples" / "text_server.py"


class Server:
    """The server's process, and its address."""

    def __init__(self, seed: int = 1) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(SERVER), "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def get(self, path: str) -> tuple[int, bytes, str | None]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:
                return answer.status, answer.read(), answer.headers["Retry-After"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers["Retry-After"]

    def get_all(self, paths: list[str]) -> list[tuple[int, bytes, str | None]]:
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(self.get, paths))

    def json(self, path: str) -> Any:
        return json.loads(self.get(path)[1])


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with server.process:
        yield server
        server.process.kill()


def test_it_serves_at_least_2000_documents_of_real_text(server: Server) -> None:
    """The index lists them, in whole lines where possible, with their sizes."""
    index = server.json("/index.json")
    assert len({entry["path"] for entry in index}) == len(index) >= 2000
    assert all(0 < entry["bytes"] <= 32 * 1024 for entry in index)
    assert any(b"import " in body for _, body, _ in server.get_all([entry["path"] for entry in index[:30]]))


def test_its_books_add_up(server: Server) -> None:
    """What a client counts is what /stats.json says; the index and the statistics themselves do not count."""
    index = server.json("/index.json")
    answers = server.get_all([entry["path"] for entry in index[:40]])
    assert server.get("/text/nothing/1")[0] == 404
    statuses = [status for status, _, _ in answers]
    assert server.json("/stats.json") == {
        "requests": 40,
        "documents": 40,
        "answers": {str(status): statuses.count(status) for status in sorted(set(statuses))},
        "bytes": sum(len(body) for _, body, _ in answers),
        "too_early": 0,
    }


def test_a_seed_always_makes_the_same_trouble(server: Server) -> None:
    """Statuses depend on seed, document and attempt; busy answers say when to come again, as a number or a date."""
    again = Server()
    with again.process:
        paths = [entry["path"] for entry in server.json("/index.json")[:150]]
        assert [entry["path"] for entry in again.json("/index.json")[:150]] == paths
        answers = server.get_all(paths)
        assert [answer[:2] for answer in again.get_all(paths)] == [answer[:2] for answer in answers]
        again.process.kill()
    assert {status for status, _, _ in answers} == {200, 429, 500}
    for status, body, retry_after in answers:
        assert (retry_after is not None) == (status == 429)
        assert bool(body) == (status == 200)
        assert retry_after is None or retry_after.isdigit() or email.utils.parsedate_to_datetime(retry_after)


def test_it_notices_who_comes_too_early(server: Server) -> None:
    """A client that ignores Retry-After is counted."""
    too_early = 0
    for entry in server.json("/index.json"):
        if server.get(entry["path"])[0] == 429:
            server.get(entry["path"])
            too_early = server.json("/stats.json")["too_early"]
            if too_early:  # unless this machine slept for a second in between
                break
    assert too_early == 1


def test_it_ends_with_its_input(server: Server) -> None:
    """Closing the pipe ends it at once and without a word, whatever connections are open."""
    connection = urllib.request.urlopen(server.url + "/index.json", timeout=30)
    assert server.process.stdin is not None
    assert server.process.stderr is not None
    server.process.stdin.close()
    assert server.process.wait(30) == 0
    assert server.process.stderr.read() == ""
    connection.close()


def test_it_ends_with_its_parent() -> None:
    """A parent that is killed takes the server along."""
    code = f"import sys, time; sys.path.insert(0, {str(SERVER.parent)!r}); import text_server\n"
    code += "with text_server.running() as url: print(url, flush=True); time.sleep(100)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        urllib.request.urlopen(url + "/stats.json", timeout=30).close()
        parent.kill()
        parent.wait(30)
        assert_gone(url)


def assert_gone(url: str) -> None:
    """Wait until nobody answers at `url`."""
    for _ in range(300):
        try:
            urllib.request.urlopen(url + "/stats.json", timeout=30).close()
        except OSError:
            return
        time.sleep(0.1)
    raise AssertionError(f"{url} still answers")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_it_quietly(server: Server) -> None:
    """By hand, Ctrl-C does what Ctrl-D does."""
    assert server.process.stderr is not None
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
    assert server.process.stderr.read() == ""
