"""A server as a child process: started, waited for, stopped, killed, and started again on the same ports."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Self

__all__ = ["ROOT", "Server", "build", "fetch", "free_port"]

ROOT: Final = Path(__file__).resolve().parents[2]

START_TIMEOUT_S: Final = 60.0
"""Seconds a server has to become healthy: a hundred times what it takes, for a machine that is busy elsewhere."""
STOP_TIMEOUT_S: Final = 60.0
"""Seconds a server has to end after SIGTERM."""
PORTS: Final = range(10_000, 32_000)
"""Below the ephemeral ports of every system in use: a client that tries again and again to reach a server that is down
is given ephemeral ports for its own end, can be given the very port it calls, and then talks to itself."""

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_taken: set[int] = set()


def free_port(wanted: int | None = None) -> int:
    """Return a port on 127.0.0.1 that nobody listens on and that was not returned before; `wanted` if that is one."""
    candidates = ([] if wanted is None else [wanted]) + random.sample(PORTS, 100)
    for port in candidates:
        if port in _taken:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As Go's servers do: connections of a server that has just ended are no reason to avoid its port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _taken.add(port)
            return port
    raise OSError(f"no free port among {len(candidates)} between {PORTS.start} and {PORTS.stop}")


def build(program: str) -> Path:
    """Return the path of ``jaeger`` or ``otelcol``, built now if it was not before.

    Raises:
        FileNotFoundError: it cannot be built; the message says what is missing.
    """
    done = subprocess.run(
        [ROOT / "tools" / "backends" / "build", program], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise FileNotFoundError(f"{program} could not be built: the lines above say why")
    return Path(done.stdout.strip())


def fetch(url: str, timeout: float = 30.0) -> str:
    """Return what `url`, an address on this machine, answers.

    Raises:
        OSError: there is no answer, or (`urllib.error.HTTPError`) it is not a success.
    """
    with _direct.open(url, timeout=timeout) as answer:
        content: bytes = answer.read()
    return content.decode("utf-8")


class Server:
    """A child process that answers whether it is well.

    Args:
        command: The program and its arguments.
        environment: Variables on top of those of this process.
        health_url: Answers 200 when it is ready.
        log: Its output is appended here.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, health_url: str, log: Path
    ) -> None:
        self.command = [*command]
        self.environment = dict(environment)
        self.health_url = health_url
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id, while there is a process."""
        if self._process is None:
            raise RuntimeError(f"{self.command[0]} has not been started")
        return self._process.pid

    def start(self) -> Self:
        """Start it, again if need be, and return when it is well.

        Raises:
            RuntimeError: it ended, or did not become well in time; the message has the end of its log.
        """
        self._output = self.log.open("ab")
        self._process = subprocess.Popen(
            self.command,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            # Ctrl-C goes to the whole process group; a server ends when it is told to, after its clients.
            start_new_session=True,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_well():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
                raise RuntimeError(f"{' '.join(self.command)} did not start:\n{tail}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """Have it end in good order; nothing if it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it on the spot; nothing if it is not running."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it: its ports accept connections, and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._output is not None:
            self._output.close()
            self._output = None

    def _is_well(self) -> bool:
        try:
            with _direct.open(self.health_url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:  # refused, reset, timed out, or an answer that is not a success
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
