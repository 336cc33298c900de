"""``spanloom doctor``: is everything there, and does it work?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

import click

from spanloom.cli._checks import Check, Verdict, environment, installation, record
from spanloom.cli._endpoint import endpoint
from spanloom.cli._errors import ExitCode
from spanloom.cli._options import example, file_option, json_option
from spanloom.cli._output import print_json
from spanloom.cli._page import print_page
from spanloom.handlers._text import count_of, printable
from spanloom.store.locate import default_path
from spanloom.viewer._layout import Line

__all__ = ["doctor"]

_SIGNS: Final = {Verdict.OK: "ok", Verdict.NOTE: "", Verdict.WARNING: "WARNING", Verdict.PROBLEM: "PROBLEM"}
_STYLES: Final = {Verdict.WARNING: "bad", Verdict.PROBLEM: "bad"}
_TEXT: Final = 500


@click.command(epilog=example("spanloom doctor", "spanloom doctor --file runs.db --json"))
@file_option
@json_option
def doctor(path: Path | None, as_json: bool) -> ExitCode:
    """Check what is installed, which handlers there are, the environment, the endpoint, and the file of the record.

    The endpoint that OTEL_EXPORTER_OTLP_ENDPOINT names is asked whether it accepts spans, by a request that contains
    none. Nothing is changed. The exit code is 1 if there is a problem; warnings do not count.
    """
    checks = [*installation(), *environment(), *endpoint(), *record(default_path() if path is None else path)]
    problems = sum(check.verdict is Verdict.PROBLEM for check in checks)
    if as_json:
        print_json({"v": 1, "healthy": not problems, "checks": [check._asdict() for check in checks]})
    else:
        print_page(_lines(checks, problems))
    return ExitCode.FAILED if problems else ExitCode.OK


def _lines(checks: Iterable[Check], problems: int) -> Iterator[Line]:
    for area, found in groupby(checks, key=lambda check: check.area):
        yield Line(area, "head")
        for check in found:
            sign = _SIGNS[check.verdict]
            yield Line(
                f"  {sign:<7}  {printable(check.name)}: {printable(check.text, _TEXT)}",
                _STYLES.get(check.verdict, ""),
            )
    yield Line("")
    if problems:
        yield Line(count_of(problems, "problem"), "bad")
    else:
        yield Line("no problems")
