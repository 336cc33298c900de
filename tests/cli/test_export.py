"""``spanloom export``, from the record of a run to what other programs read."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spanloom.callbacks import CallbackManager, use_callback_manager
from spanloom.cli._main import main
from spanloom.handlers.otel import OpenTelemetryHandler
from spanloom.handlers.otel._setup import make_provider
from spanloom.handlers.otel.replay import exporter_to
from spanloom.handlers.record import RecordHandler
from spanloom.store.model import Record
from spanloom.store.reader import StoreReader
from tests.handlers.otlp import Receiver
from tests.handlers.test_otel_json import read_request
from tests.viewer.chrome_trace import Trace
from tests.viewer.test_otlp import by_id, differences, spans_in, taken
from tests.viewer.workload import everything

ROOT = Path(__file__).resolve().parents[2]


class Recorded:
    """A run in a file, and the spans that were sent while it was recorded."""

    def __init__(self, path: Path, receiver: Receiver) -> None:
        self.path = path
        self.receiver = receiver
        exporter = exporter_to(receiver.url)
        handlers = [
            OpenTelemetryHandler(make_provider(exporter, has_queue=False)),
            RecordHandler(path, payloads=True),
        ]
        manager = CallbackManager(handlers, raise_handler_errors=True)
        with use_callback_manager(manager):
            asyncio.run(everything())
        assert manager.flush(30)
        manager.close()
        self.spans = taken(receiver)
        with StoreReader(path) as store:
            (self.run,) = store.runs()
            self.records: list[Record] = list(store.records(self.run))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    receiver = Receiver()
    yield Recorded(tmp_path_factory.mktemp("record") / "runs.db", receiver)
    receiver.close()


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of these tests names no collector."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def export(*arguments: str | Path) -> int:
    """Run the command in this process; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["export", *map(str, arguments)], "spanloom")
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_recorded_run_is_sent_as_it_was_live(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every span that comes out of the file has the bytes of the one that went out while the run ran."""
    assert export(recorded.path, "--format", "otlp", "--endpoint", recorded.receiver.url, "--json") == 0
    assert differences(recorded.spans, taken(recorded.receiver)) == []
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "run": recorded.run.run_id,
        "format": "otlp",
        "endpoint": recorded.receiver.url,
        "spans": len(recorded.spans),
        "left_open": 0,
        "events": len(recorded.records),
        "dropped": 0,
    }


def test_the_environment_says_where_to(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--send goes where OTEL_EXPORTER_OTLP_ENDPOINT says, under the service name that OTEL_SERVICE_NAME says."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", recorded.receiver.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "crawler")
    assert export(recorded.path, "--format", "otlp", "--send") == 0
    resource = recorded.receiver.requests[0][1].resource_spans[0].resource
    about = {pair.key: pair.value for pair in resource.attributes}
    assert about["service.name"].string_value == "crawler"
    assert about["spanloom.run.id"].string_value == recorded.run.run_id
    assert about["process.pid"].int_value == recorded.run.pid == os.getpid()
    assert len(taken(recorded.receiver)) == len(recorded.spans)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{len(recorded.spans):,} spans sent" in captured.err


def test_lines_hold_what_is_sent(recorded: Recorded, tmp_path: Path) -> None:
    """The file of OTLP/JSON lines has the same spans, no line beyond what the Collector's receiver reads."""
    assert export(recorded.path, "--format", "otlp", "-o", tmp_path / "spans.jsonl") == 0
    lines = (tmp_path / "spans.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) > 1
    assert max(map(len, lines)) < 1 << 20
    assert differences(recorded.spans, by_id(spans_in(lines))) == []


def test_perfetto_json_and_csv_have_every_event(recorded: Recorded, tmp_path: Path) -> None:
    """Each form names each event once."""
    expected = sorted(f"{record.event_id:016x}" for record in recorded.records)
    for form in ("perfetto", "json", "csv"):
        assert export(recorded.path, "--format", form, "-o", tmp_path / form) == 0
    trace = Trace((tmp_path / "perfetto").read_bytes())
    drawn = [event["args"]["event_id"] for event in [*trace.slices, *trace.instants]]
    assert sorted(drawn) == expected
    document = json.loads((tmp_path / "json").read_text(encoding="utf-8"))
    assert sorted(record["event_id"] for record in document["records"]) == expected
    with (tmp_path / "csv").open(encoding="utf-8", newline="") as file:
        assert sorted(row["event_id"] for row in csv.DictReader(file)) == expected


def test_standard_output_is_the_export_alone(recorded: Recorded) -> None:
    """Without -o the bytes go to standard output, and whatever else there is to say to standard error."""
    command = [sys.executable, "-m", "spanloom.cli", "export", str(recorded.path), "--format", "csv"]
    done = subprocess.run(
        [sys.executable, "-c", "from spanloom.cli import main; main()", *command[3:]],
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode("utf-8"), newline="")))
    assert len(rows) == len(recorded.records)


def test_a_closed_pipe_is_no_error_to_speak_of(recorded: Recorded) -> None:
    """``spanloom export ... | head -1`` ends without a word."""
    code = "from spanloom.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "export", str(recorded.path), "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"format":"spanloom.run"')
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_file_is_replaced_when_the_new_one_is_whole(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If writing fails in the middle, the old file is there and no other; else it has the usual permissions."""
    target = tmp_path / "run.json"
    target.write_text("old")
    link = tmp_path / "latest.json"
    link.symlink_to(target)
    original = StoreReader.records

    def failing(self: StoreReader, *arguments: Any, **options: Any) -> Iterator[Record]:
        yield next(original(self, *arguments, **options))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(StoreReader, "records", failing)
        assert export(recorded.path, "--format", "json", "-o", link) == 1
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.json", "run.json"]

    assert export(recorded.path, "--format", "json", "-o", link) == 0
    assert link.is_symlink()
    assert json.loads(target.read_text(encoding="utf-8"))["run"]["run_id"] == recorded.run.run_id
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("form", ["csv", "html"])
def test_a_pipe_is_written_to(
    form: str, recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A named pipe stays one, gets the bytes that a file would get, and they are counted."""
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    assert export(recorded.path, "--format", form, "-o", tmp_path / "pipe", "--json") == 0
    reader.join()
    assert export(recorded.path, "--format", form, "-o", tmp_path / "file", "--json") == 0
    assert got == [(tmp_path / "file").read_bytes()]
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [told["bytes"] for told in said] == [len(got[0])] * 2


@pytest.mark.skipif(
    not Path("/dev/stdout").exists(), reason="a name of standard output that not all systems have"
)
def test_standard_output_may_be_named_as_a_file(recorded: Recorded) -> None:
    """``-o /dev/stdout | head`` is written into the pipe, which is a file without a name."""
    command = "from spanloom.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "export", str(recorded.path), "--format", "csv", "-o", "/dev/stdout"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert "no such folder" not in done.stderr
    assert done.returncode == 0
    assert len(list(csv.DictReader(io.StringIO(done.stdout, newline="")))) == len(recorded.records)


def test_a_record_that_is_gone_is_not_taken_for_a_folder(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not found while the file is written is named itself, not the folder that the file is written to."""

    def failing(self: StoreReader, *_arguments: Any, **_options: Any) -> Iterator[Record]:
        raise FileNotFoundError(2, "No such file or directory", str(recorded.path))
        yield

    monkeypatch.setattr(StoreReader, "records", failing)
    assert export(recorded.path, "--format", "json", "-o", tmp_path / "run.json") == 1
    assert f"No such file or directory: {recorded.path}" in capsys.readouterr().err


def test_a_device_is_written_to(recorded: Recorded) -> None:
    """/dev/null stays a device."""
    assert export(recorded.path, "--format", "json", "-o", "/dev/null") == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--format", "csv", "--endpoint", "http://127.0.0.1:1"], 2, "only otlp can be sent, not csv"),
        (["--format", "otlp", "--send", "-o", "x"], 2, "either sent or written"),
        (["--format", "otlp", "--protocol", "grpc", "-o", "x"], 2, "--protocol is for sending"),
        (["--format", "json", "--json"], 2, "add -o FILE"),
        (["--format", "otlp", "--send"], 1, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (["--format", "csv", "-o", "no/such/folder/x.csv"], 1, "no such folder"),
        (
            ["--format", "otlp", "--endpoint", "http://127.0.0.1:1", "--timeout", "0.3"],
            1,
            "no answer in 0.3 s",
        ),
        (["--format", "otlp", "--endpoint", "localhost:4318"], 2, "has no http:// or https:// in front"),
        (["--format", "otlp", "--endpoint", "ftp://localhost"], 2, "is not of the form http://host:port"),
        (["--format", "otlp", "--endpoint", "http://127.0.0.1:1", "--timeout", "0.3"], 1, "took 0 of "),
        ([], 2, "--format"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    arguments: list[str],
    code: int,
    words: str,
    recorded: Recorded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Options that contradict each other end with 2, what cannot be done with 1, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    assert export(recorded.path, *arguments) == code
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_what_is_waited_for_is_said_soon(recorded: Recorded) -> None:
    """A collector that is not there is waited for in case it comes; that is said after a second, and nothing twice."""
    command = [sys.executable, "-m", "spanloom", "export", "last", "--file", str(recorded.path)]
    command += ["--endpoint", "http://127.0.0.1:1", "--timeout", "1.5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    refused = "not sent (127.0.0.1:1: Connection refused)"
    first, last = done.stderr.splitlines()
    assert first == f"nothing sent to http://127.0.0.1:1 yet: {refused}; trying for 1.5 s (--timeout)"
    assert last.startswith("Error: the collector took 0 of ")
    assert last.endswith(f"no answer in 1.5 s; {refused}")
    assert done.returncode == 1


@pytest.mark.parametrize("form", ["otlp", "perfetto", "html"])
def test_a_terminal_is_spared(
    form: str, recorded: Recorded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody can read is not written to a terminal."""
    monkeypatch.setattr("spanloom.cli.export.is_terminal", lambda: True)
    assert export(recorded.path, "--format", form) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "add -o FILE" in captured.err


def test_html_is_a_page(recorded: Recorded, tmp_path: Path) -> None:
    """The page is whole, and its file, too."""
    assert export(recorded.path, "--format", "html", "-o", tmp_path / "run.html") == 0
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")


COMMANDS = re.findall(
    r"^spanloom (export .*)$",
    (ROOT / "docs" / "how-to" / "export-a-run.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_guide_do_what_they_are_shown_for(
    command: str, recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line that the guide has its reader type ends well; the endpoint of the example is a real one here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPANLOOM_RECORD", str(recorded.path))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", recorded.receiver.url)
    arguments = shlex.split(
        command.partition(" | ")[0].replace("http://localhost:4318", recorded.receiver.url)
    )
    assert export(*arguments[1:]) == 0
    if "-o" in arguments:
        assert (tmp_path / arguments[arguments.index("-o") + 1]).stat().st_size > 1_000
    recorded.receiver.requests.clear()


KILLED = """
import asyncio, sys
from spanloom import async_map, get_callback_manager
from spanloom.handlers.record import RecordHandler

async def work(number):
    if number == 3:
        print("hanging", flush=True)
        await asyncio.sleep(3600)

get_callback_manager().add_handler(RecordHandler(sys.argv[1], name="killed"))
asyncio.run(async_map(work, range(10), limit=1, desc="pages"))
"""


def _is_open(path: Path, index: int) -> bool:
    if not path.exists():
        return False
    with StoreReader(path) as store:
        return index in [
            found.job_index for run in store.runs() for found in store.records(run, is_open=True)
        ]


def test_a_run_that_was_killed_is_exported(tmp_path: Path) -> None:
    """After a SIGKILL: what had ended as it ended, what was open as interrupted, in each form."""
    path = tmp_path / "runs.db"
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hanging\n"
        deadline = time.monotonic() + 60
        while not _is_open(path, 3):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    for form in ("otlp", "json", "csv", "perfetto"):
        assert export(path, "--format", form, "-o", tmp_path / form) == 0
    (request,) = map(read_request, (tmp_path / "otlp").read_bytes().splitlines())
    spans = request.resource_spans[0].scope_spans[0].spans
    outcomes = [
        (span.name, pair.value.string_value)
        for span in spans
        for pair in span.attributes
        if pair.key == "spanloom.outcome"
    ]
    assert sorted(outcomes) == sorted(
        [("work", "ok")] * 3 + [("work", "interrupted"), ("pages", "interrupted")]
    )
    hanging = next(span for span in spans if span.name == "work" and span.status.code == 2)
    assert hanging.end_time_unix_nano - hanging.start_time_unix_nano > 100_000_000
    records = json.loads((tmp_path / "json").read_text(encoding="utf-8"))["records"]
    assert [record["status"] for record in records] == ["interrupted", "ok", "ok", "ok", "interrupted"]
    assert (tmp_path / "csv").read_text(encoding="utf-8").count(",interrupted,") == 2
    slots = Trace((tmp_path / "perfetto").read_bytes()).on("pages, slot 1")
    assert [event["name"] for event in slots] == ["work"] * 3 + ["work [interrupted]"]


@pytest.mark.parametrize(
    ("name", "begins"),
    [("run.html", "<!DOCTYPE html>"), ("run.csv", "run_id,"), ("run.jsonl", '{"resourceSpans"')],
)
def test_the_ending_of_the_file_says_the_format(
    name: str, begins: str, recorded: Recorded, tmp_path: Path
) -> None:
    """Where it is plain; `.json` is that of two."""
    assert export(recorded.path, "-o", tmp_path / name) == 0
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)
    assert export(recorded.path, "-o", tmp_path / "run.json") == 2
    assert export(recorded.path) == 2


def test_what_is_sent_is_otlp(recorded: Recorded) -> None:
    """Nothing else can be."""
    assert export(recorded.path, "--endpoint", recorded.receiver.url) == 0
