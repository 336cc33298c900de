"""``spanloom top`` of a live process, in a real terminal: what holds the loop, and who waits for what."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from spanloom.diagnosis.watch.client import watched_pid
from tests.diagnosis.watch.running import run

pytestmark = pytest.mark.slow

PROGRAM = """
    import asyncio, os, time
    class Store:
        def __init__(self):
            self.lock = asyncio.Lock()
        async def write(self):
            async with self.lock:
                while not os.path.exists("go"):
                    await asyncio.sleep(0.05)
                time.sleep(100)
    async def main():
        store = Store()
        names = ("first", "second", "third")
        await asyncio.gather(*(asyncio.create_task(store.write(), name=name) for name in names))
    asyncio.run(main())
"""


def screen(server: str) -> str:
    return subprocess.run(
        ["tmux", "-L", server, "capture-pane", "-p"], capture_output=True, encoding="utf-8", check=True
    ).stdout


def shows(server: str, text: str, within_s: float = 30.0) -> bool:
    deadline = time.monotonic() + within_s
    while text not in screen(server):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@pytest.mark.skipif(shutil.which("tmux") is None, reason="the terminal is one of tmux")
def test_top_shows_who_waits_and_then_what_holds_the_loop(tmp_path: Path) -> None:
    """First the lock with its holder and its waiters; then, while the loop is blocked, the task that blocks it."""
    path = tmp_path / "store.py"
    path.write_text(textwrap.dedent(PROGRAM), encoding="utf-8")
    server = f"spanloom-test-{tmp_path.name}"
    with run(path, tmp_path) as process:
        top = f"{sys.executable} -m spanloom top {process.pid} --file {tmp_path / 'store.db'} || sleep 100"
        watched_pid(process.pid, wait_s=20.0)
        subprocess.run(["tmux", "-L", server, "new-session", "-d", "-x", "120", "-y", "30", top], check=True)
        try:
            assert shows(server, " 1/1  first  "), screen(server)
            (tmp_path / "go").touch()
            assert shows(server, "by task first (Store.write) at"), screen(server)
        finally:
            subprocess.run(["tmux", "-L", server, "kill-server"], check=False)
