"""``spanloom doctor``: what works is said to work, and what does not is named, by a process of its own."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.environments import without_ours

TIMEOUT_S = 60


def doctor(folder: Path, *arguments: str, code: int = 0, **variables: str) -> str:
    clean = without_ours()
    done = subprocess.run(
        [sys.executable, "-m", "spanloom", "doctor", *arguments],
        cwd=folder,
        env=clean | {"PYTHONIOENCODING": "utf-8"} | variables,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    return done.stdout


def checks(
    folder: Path, *arguments: str, code: int = 0, **variables: str
) -> dict[tuple[str, str], tuple[str, str]]:
    """Return verdict and text of each check, by its area and name."""
    found: dict[str, Any] = json.loads(doctor(folder, "--json", *arguments, code=code, **variables))
    assert found["healthy"] is (code == 0)
    return {(check["area"], check["name"]): (check["verdict"], check["text"]) for check in found["checks"]}


def record_a_run(folder: Path, *lines: str) -> Path:
    (folder / "program.py").write_text("\n".join(lines))
    subprocess.run(
        [sys.executable, "-m", "spanloom", "run", "--record", "runs.db", "program.py"],
        cwd=folder,
        timeout=TIMEOUT_S,
        check=True,
    )
    return folder / "runs.db"


# -- all is well -------------------------------------------------------------------------------------------------------


def test_a_healthy_installation(tmp_path: Path) -> None:
    """Versions, handlers, no endpoint, no file yet; and nothing is made by looking."""
    found = checks(tmp_path)
    assert found["installation", "python"][1].startswith(".".join(map(str, sys.version_info[:3])))
    assert found["installation", "spanloom"][0] in {"ok", "warning"}
    for name in ("debug", "logging", "otel", "progress", "record"):
        assert found["handlers", name][0] == "ok"
    assert found["endpoint", "traces"] == ("note", "none: OTEL_EXPORTER_OTLP_ENDPOINT is not set")
    assert found["record", "content"][0] == "note"
    assert found["record", "writing"] == ("ok", "allowed")
    assert found["record", "disk"][1].endswith(" free")
    assert not {verdict for verdict, _ in found.values()} & {"problem"}
    assert list(tmp_path.iterdir()) == []
    text = doctor(tmp_path)
    assert text.splitlines()[0] == "installation"
    assert text.splitlines()[-1] == "no problems"


def test_a_sound_record(tmp_path: Path) -> None:
    """How many runs there are, and that nothing is damaged; the file is as it was."""
    path = record_a_run(
        tmp_path, "from spanloom import get_callback_manager", "get_callback_manager().emit(name='a')"
    )
    before = path.read_bytes()
    found = checks(tmp_path, "--file", "runs.db")
    assert found["record", "content"][0] == "ok"
    assert found["record", "content"][1].startswith("1 run, ")
    assert found["record", "content"][1].endswith(", no damage")
    assert found["record", "file"][1] == str(path)
    assert path.read_bytes() == before
    assert checks(tmp_path, SPANLOOM_RECORD="runs.db")["record", "content"][0] == "ok"


# -- the file ----------------------------------------------------------------------------------------------------------


def test_files_that_are_no_record(tmp_path: Path) -> None:
    """Text, another program's database, and one of a newer version are told apart; the exit code is 1."""
    (tmp_path / "text.db").write_text(
        "this is no database, but a text that is long enough to be looked at" * 9
    )
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t (a)")
    other.close()
    path = record_a_run(tmp_path, "pass")
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    said = {
        name: checks(tmp_path, "--file", name, code=1)["record", "content"]
        for name in ("text.db", "other.db", "runs.db")
    }
    assert {verdict for verdict, _ in said.values()} == {"problem"}
    assert "not an SQLite file" in said["text.db"][1]
    assert "not a record of spanloom" in said["other.db"][1]
    assert "newer version of spanloom" in said["runs.db"][1]


def test_a_damaged_record(tmp_path: Path) -> None:
    """A page of events that was overwritten is found, where the runs can still be listed."""
    path = record_a_run(
        tmp_path,
        "import asyncio; from spanloom import async_map",
        "asyncio.run(async_map(asyncio.sleep, [0] * 20000))",
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    verdict, text = checks(tmp_path, "--file", "runs.db", code=1)["record", "content"]
    assert verdict == "problem"
    assert "damaged" in text


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """It says which one, and what to do."""
    (tmp_path / "locked").mkdir(mode=0o500)
    verdict, text = checks(tmp_path, "--file", "locked/deep/runs.db", code=1)["record", "writing"]
    assert (verdict, text) == (
        "problem",
        f"{tmp_path / 'locked'} may not be written; set SPANLOOM_RECORD to a file that can be written",
    )


def test_a_path_through_a_file(tmp_path: Path) -> None:
    """A folder of the path that is a file is named."""
    (tmp_path / "file").touch()
    found = checks(tmp_path, "--file", "file/runs.db", code=1)
    assert found["record", "writing"][1].startswith(f"{tmp_path / 'file'} is not a folder")


def test_a_path_that_no_file_can_have(tmp_path: Path) -> None:
    """It is told as what is wrong with the file, with all that was looked at besides."""
    found = checks(tmp_path, "--file", f"{'a' * 300}/runs.db", code=1)
    verdict, text = found["record", "content"]
    assert (verdict, text.endswith("File name too long")) == ("problem", True)
    assert found["record", "disk"][0] == "ok"


# -- handlers and variables --------------------------------------------------------------------------------------------


def test_names_that_mean_nothing(tmp_path: Path) -> None:
    """A handler that there is none of, and values that are not understood."""
    found = checks(
        tmp_path, code=1, SPANLOOM_HANDLERS="debug, nix", SPANLOOM_DEEP="maybe", SPANLOOM_RECORDER="-1"
    )
    assert found["handlers", "nix"][0] == "problem"
    assert found["handlers", "debug"][1].endswith(", on by SPANLOOM_HANDLERS")
    assert found["environment", "SPANLOOM_DEEP"][0] == "problem"
    assert found["environment", "SPANLOOM_RECORDER"][0] == "problem"
    text = doctor(tmp_path, code=1, SPANLOOM_HANDLERS="nix")
    assert "  PROBLEM  nix: SPANLOOM_HANDLERS names it; there are debug, " in text
    assert text.splitlines()[-1] == "1 problem"


def test_secrets_in_the_environment_are_not_shown(tmp_path: Path) -> None:
    """Headers lose their values, addresses their passwords, whatever they are called; in text and in JSON."""
    variables = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer s3cr3tTOKENvalue,x-team=s3cr3tTOKENvalue",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=s3cr3tTOKENvalue",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:s3cr3tTOKENvalue@127.0.0.1:1",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=a,api_key=s3cr3tTOKENvalue",
    }
    for arguments in ((), ("--json",)):
        text = doctor(tmp_path, *arguments, code=1, **variables)
        assert "s3cr3tTOKENvalue" not in text
    assert "authorization=***,x-team=***" in doctor(tmp_path, code=1, **variables)


# -- the endpoint ------------------------------------------------------------------------------------------------------


class Collector(ThreadingHTTPServer):
    """Answers as it is told, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status = 200
        self.asked: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, body, dict(self.headers)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_collector_is_asked_once_with_nothing_in_the_question(tmp_path: Path, collector: Collector) -> None:
    """At the path of the exporter, with the headers that are configured, and an empty request."""
    found = checks(
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url + "/base/",
        OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b",
    )
    assert found["endpoint", "traces"] == ("ok", f"{collector.url}/base/v1/traces takes spans")
    ((method, path, body, headers),) = collector.asked
    assert (method, path, body, headers["x-key"]) == ("POST", "/base/v1/traces", b"", "a b")


def test_the_form_for_traces_is_taken_as_it_is(tmp_path: Path, collector: Collector) -> None:
    """Nothing is added to it, and the general one is not asked."""
    checks(
        tmp_path,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector.url + "/mine",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
    )
    assert [path for _, path, _, _ in collector.asked] == ["/mine"]


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "OTEL_EXPORTER_OTLP_HEADERS"), (404, "no OTLP receiver"), (503, "503")]
)
def test_an_answer_that_is_a_refusal(tmp_path: Path, collector: Collector, status: int, advice: str) -> None:
    """It is a problem, and what to do about it is said where that is known."""
    collector.status = status
    verdict, text = checks(tmp_path, code=1, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)["endpoint", "traces"]
    assert verdict == "problem"
    assert advice in text


def test_nobody_answers(tmp_path: Path) -> None:
    """No server, a server that says nothing, a name that does not exist, an address that is none: within seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        said = {
            url: checks(tmp_path, code=1, OTEL_EXPORTER_OTLP_ENDPOINT=url)["endpoint", "traces"][1]
            for url in (
                "http://127.0.0.1:1",
                silent_url,
                "http://no-such-host.invalid:4318",
                "nonsense",
                "http://h:x",
            )
        }
    assert said["http://127.0.0.1:1"].endswith("cannot be reached: Connection refused")
    assert said[silent_url] == f"{silent_url}/v1/traces did not answer within 3 s"
    assert "cannot be reached" in said["http://no-such-host.invalid:4318"]
    assert said["nonsense"].startswith("not the address of a collector")
    assert said["http://h:x"].startswith("not the address of a collector")


def test_grpc_is_asked_for_a_connection_only(tmp_path: Path) -> None:
    """Host and port are enough there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        found = checks(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=address, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
        connection, _ = server.accept()
        with connection:
            connection.settimeout(TIMEOUT_S)
            assert connection.recv(1) == b""
    assert found["endpoint", "traces"][0] == "ok"
