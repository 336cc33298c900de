"""``spanloom export``: a run for other programs."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from spanloom.cli._file import STDOUT, writing_to
from spanloom.cli._options import example, file_option, json_option, opened, run_argument
from spanloom.cli._output import is_terminal, print_json
from spanloom.handlers._text import count_of, printable

if TYPE_CHECKING:
    from spanloom.cli._file import Tally
    from spanloom.store.model import Record, Run
    from spanloom.store.reader import StoreReader

__all__ = ["export"]

FORMATS: Final = ("otlp", "perfetto", "html", "json", "csv")
ENDINGS: Final = {".html": "html", ".csv": "csv", ".jsonl": "otlp"}
"""Of files whose format is plain; ``.json`` may be more than one."""
READABLE: Final = frozenset({"json", "csv"})
"""What may be written to a terminal."""


@click.command(
    epilog=example(
        "spanloom export last -o run.html",
        "spanloom export last --format perfetto -o run.json",
        "spanloom export 3f9c --format otlp --endpoint http://localhost:4318",
        "spanloom export last --format csv | head",
    )
)
@run_argument()
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="The format of the export.  [default: what the ending of FILE says: .html, .csv, .jsonl for otlp; "
    "otlp if it is sent]",
)
@click.option(
    "-o",
    "--output",
    default=STDOUT,
    metavar="FILE",
    help="Write to FILE; an existing file is replaced once the new one is complete.  [default: standard output]",
)
@click.option(
    "--endpoint",
    metavar="URL",
    help="Send OTLP to URL, such as http://localhost:4318, instead of writing it. The variables OTEL_EXPORTER_OTLP_* "
    "set the rest: headers, certificates, compression.",
)
@click.option("--send", is_flag=True, help="Send OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT says.")
@click.option(
    "--protocol",
    type=click.Choice(["http/protobuf", "grpc"]),
    help="The protocol to send by.  [default: $OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf]",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up on a collector that accepts nothing for this long. After a second, what is waited for is said.",
)
@file_option
@json_option
def export(
    run: str,
    form: str | None,
    output: str,
    endpoint: str | None,
    send: bool,
    protocol: str | None,
    timeout_s: float,
    path: Path | None,
    as_json: bool,
) -> None:
    """Write or send one run, for other programs.

    \b
    otlp      OpenTelemetry spans: sent, or as JSON lines, as the Collector's otlpjsonfile receiver reads them
    perfetto  a picture for https://ui.perfetto.dev, chrome://tracing and others: Chrome trace JSON
    html      one page, to look at in a browser, without a network
    json      all of the run as one document
    csv       a row for each event

    RUN is the start of its id, "last", or a file; without it, the last run.
    """  # noqa: D301 -- \b is for click
    sends = send or endpoint is not None
    form = form or ("otlp" if sends else _form_of(output))
    _check_options(form, output, sends=sends, protocol=protocol, as_json=as_json)
    if endpoint is not None:
        _check_endpoint(endpoint, protocol)
    with opened(run, path) as (store, found):
        records = _Counted(store.records(found))
        told: dict[str, object] = {"run": found.run_id, "format": form}
        if sends:
            from spanloom.viewer.otlp import send_otlp

            with _silenced():  # what is logged of the sending is said here, and in the error
                sent = send_otlp(
                    found,
                    records,
                    endpoint=endpoint,
                    protocol=protocol,
                    timeout_s=timeout_s,
                    tell=partial(_say_what_is_waited_for, endpoint),
                )
            told |= {"endpoint": endpoint, "spans": sent.spans, "left_open": sent.left_open}
        else:
            with writing_to(output) as file:
                told |= {"file": None if output == STDOUT else output} | _write(
                    form, found, records, file, store
                )
                told["bytes"] = file.bytes
        told |= {"events": records.count, "dropped": found.dropped}
    if as_json:
        print_json(told)
    else:
        _tell(told)


def _say_what_is_waited_for(endpoint: str | None, what: str) -> None:
    where = f"to {endpoint}" if endpoint is not None else "to where OTEL_EXPORTER_OTLP_ENDPOINT says"
    click.echo(printable(f"nothing sent {where} yet: {what} (--timeout)", 2_000), err=True)


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep Python from writing warnings of the sender to standard error, as it does where nobody takes log records."""
    logger, nobody = logging.getLogger("spanloom.handlers.otel"), logging.NullHandler()
    logger.addHandler(nobody)
    try:
        yield
    finally:
        logger.removeHandler(nobody)


def _form_of(output: str) -> str:
    form = ENDINGS.get(Path(output).suffix)
    if form is None:
        raise click.UsageError(f"in which format? Add --format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    return form


def _check_options(form: str, output: str, *, sends: bool, protocol: str | None, as_json: bool) -> None:
    if sends and form != "otlp":
        raise click.UsageError(f"only otlp can be sent, not {form}: use --format otlp, or -o FILE")
    if sends and output != STDOUT:
        raise click.UsageError("it is either sent or written to a file: use --endpoint or -o, not both")
    if protocol is not None and not sends:
        raise click.UsageError("--protocol is for sending: add --endpoint URL or --send")
    if sends or output != STDOUT:
        return
    if as_json:
        raise click.UsageError(
            "--json says what was written, which here goes to standard output itself: add -o FILE"
        )
    if form not in READABLE and is_terminal():
        raise click.UsageError(
            f"{form} is nothing to read on a terminal: add -o FILE, or send it on with a pipe"
        )


def _check_endpoint(endpoint: str, protocol: str | None) -> None:
    from spanloom.cli._endpoint import protocol_of, target_of

    try:
        target_of(endpoint, protocol or protocol_of())
    except ValueError as error:
        raise click.BadParameter(
            f"not the address of a collector: {error}", param_hint="--endpoint"
        ) from None


class _Counted:
    """Records, counted as they are read."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records
        self.count = 0

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            self.count += 1
            yield record


def _write(
    form: str, run: Run, records: Iterable[Record], file: Tally, store: StoreReader
) -> dict[str, object]:
    if form == "otlp":
        from spanloom.viewer.otlp import write_otlp

        written = write_otlp(run, records, file.write)
        return {"spans": written.spans, "left_open": written.left_open}
    if form == "html":
        from spanloom.diagnosis.recorded import explain
        from spanloom.viewer.html import write_html

        text = io.TextIOWrapper(io.BufferedWriter(file), encoding="utf-8", newline="\n")
        write_html(run, records, text, explain(store, run))
        text.detach().detach()  # flushes, and leaves the file open
        return {}
    if form == "perfetto":
        from spanloom.viewer.perfetto import write_perfetto as write
    elif form == "json":
        from spanloom.viewer.tables import write_json as write
    else:
        from spanloom.viewer.tables import write_csv as write
    write(run, records, file.write)
    return {}


def _tell(told: dict[str, Any]) -> None:  # Any: numbers and names, each known by its key
    """Say in words what became of the run; on standard error, because standard output may be the export."""
    from spanloom.viewer._ids import short_id

    name = f"run {short_id(told['run'])}"
    if "endpoint" in told:
        where = (
            "to where OTEL_EXPORTER_OTLP_ENDPOINT says"
            if told["endpoint"] is None
            else f"to {told['endpoint']}"
        )
        spans = count_of(told["spans"], "span") if told["events"] else "it has no events, so nothing was"
        click.echo(printable(f"{name}: {spans} sent {where}", 2_000), err=True)
    elif told["file"] is not None:
        size = f"{count_of(told['events'], 'event')}, {count_of(told['bytes'], 'byte')}"
        click.echo(printable(f"{name}: {size} written to {told['file']}", 2_000), err=True)
    if told.get("left_open"):
        click.echo(
            f"events left out because they are still open, in a run that is running: {told['left_open']:,}",
            err=True,
        )
    if told["dropped"]:
        click.echo(f"events lost when the run was recorded: {told['dropped']:,}", err=True)
