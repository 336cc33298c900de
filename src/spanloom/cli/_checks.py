"""The checks of ``spanloom doctor``, apart from the network: the installation, the environment, and the record."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from pathlib import Path
from typing import Final, NamedTuple

from spanloom._wiring import handler_names, load_handler, wanted_handlers
from spanloom.exceptions import StoreError, StoreNotFoundError
from spanloom.handlers._text import count_of
from spanloom.redaction import redact_data

__all__ = ["Check", "Verdict", "environment", "installation", "record"]

MIB: Final = 1 << 20
LOW_DISK: Final = 100 * MIB
"""Free bytes below which a run may not find room for its record: that of a million jobs takes more."""
LARGE_WAL: Final = 64 * MIB
"""Bytes of the write-ahead log. SQLite empties it at 4 MB, so something has prevented that for long."""

_REQUIREMENT: Final = re.compile(r"^(?P<name>[\w.-]+).*?(?:extra == ['\"](?P<extra>[\w-]+)['\"])?\)?$")


class Verdict(StrEnum):
    """The result of a check."""

    OK = "ok"
    NOTE = "note"
    """Nothing is wrong; for information."""
    WARNING = "warning"
    """It works, but may stop working sooner than it should."""
    PROBLEM = "problem"
    """Something that was asked for does not work."""


class Check(NamedTuple):
    """One check and its result.

    Attributes:
        area: ``installation``, ``handlers``, ``environment``, ``endpoint`` or ``record``.
        name: What was checked.
        verdict: The result.
        text: What was found and, if it is wrong, what to do.
    """

    area: str
    name: str
    verdict: Verdict
    text: str


def installation() -> Iterator[Check]:
    """Yield the versions of everything that spanloom is made of, and the handlers that can be loaded."""
    area = "installation"
    yield Check(area, "python", Verdict.OK, f"{platform.python_version()} ({sys.executable})")
    yield Check(area, "platform", Verdict.OK, platform.platform())
    place = Path(__file__).resolve().parent.parent
    yield Check(area, "spanloom", *_version("spanloom", f"in {place}"))
    for requirement in requires_of_spanloom():
        found = _REQUIREMENT.match(requirement)
        if found is None:
            continue
        name, extra = found["name"], found["extra"]
        verdict, text = _version(name)
        if extra is not None:
            if verdict is not Verdict.OK:
                verdict, text = Verdict.NOTE, f"not installed; pip install 'spanloom[{extra}]'"
            name = f"{name} [{extra}]"
        yield Check(area, name, verdict, text)
    yield from _handlers()


def requires_of_spanloom() -> list[str]:
    """Return the requirements of the installed package; empty for a source tree that is not installed."""
    try:
        return requires("spanloom") or []
    except PackageNotFoundError:
        return []


def _version(package: str, more: str = "") -> tuple[Verdict, str]:
    try:
        return Verdict.OK, f"{version(package)} {more}".rstrip()
    except PackageNotFoundError:
        if package == "spanloom":
            return (
                Verdict.WARNING,
                f"a source tree that is not installed, {more}: handlers of other packages are not found",
            )
        return Verdict.PROBLEM, f"not installed, but needed; pip install {package}"


def _handlers() -> Iterator[Check]:
    area = "handlers"
    targets = {point.name: point.value for point in entry_points(group="spanloom.handlers")}
    names = handler_names()
    wanted = wanted_handlers()
    for name in names:
        target = targets.get(name, "built in")
        try:
            load_handler(name)
        except Exception as error:  # noqa: BLE001 -- the module of somebody else may raise anything
            verdict = Verdict.PROBLEM if name in wanted else Verdict.WARNING
            yield Check(area, name, verdict, f"{target} cannot be loaded: {type(error).__name__}: {error}")
        else:
            yield Check(
                area, name, Verdict.OK, target + (", on by SPANLOOM_HANDLERS" if name in wanted else "")
            )
    for name in wanted:
        if name not in names:
            yield Check(
                area, name, Verdict.PROBLEM, f"SPANLOOM_HANDLERS names it; there are {', '.join(names)}"
            )


def environment() -> Iterator[Check]:
    """Yield the environment variables that take effect; secrets in them are not shown."""
    area = "environment"
    for name, value in sorted(os.environ.items()):
        if name.startswith(("SPANLOOM_", "OTEL_")) or name in {"TRACEPARENT", "NO_COLOR"}:
            yield Check(area, name, Verdict.NOTE, _hidden(name, value))
    for name in ("SPANLOOM_RECORDER", "SPANLOOM_DEEP"):
        value = os.environ.get(name, "").strip().lower()
        allowed = (
            value.isdecimal()
            if name == "SPANLOOM_RECORDER"
            else value in {"1", "0", "true", "false", "yes", "no", "on", "off"}
        )
        if value and not allowed:
            yield Check(area, name, Verdict.PROBLEM, f"{value!r} is not understood, and has no effect")


def _hidden(name: str, value: str) -> str:
    if "HEADERS" in name:  # name=value,name=value: a value is a credential, whatever its name
        return ",".join(f"{part.partition('=')[0].strip()}=***" for part in value.split(",") if part.strip())
    return str(redact_data({name: value})[name])


# -- the file ----------------------------------------------------------------------------------------------------------


def record(path: Path) -> Iterator[Check]:
    """Yield the checks of the file at `path`: whether it is sound, and whether it can be written."""
    area = "record"
    path = path.absolute()
    yield Check(area, "file", Verdict.OK, str(path))
    try:
        yield from _content(area, path)
    except StoreNotFoundError:
        yield Check(area, "content", Verdict.NOTE, "not there yet; the first run that is recorded makes it")
    except StoreError as error:
        yield Check(area, "content", Verdict.PROBLEM, str(error))
    except OSError as error:
        yield Check(area, "content", Verdict.PROBLEM, f"it cannot be read: {error.strerror or error}")
    yield _writable(area, path)
    folder = next(parent for parent in path.parents if os.path.isdir(parent))  # noqa: PTH112 -- see `_exists`
    free = shutil.disk_usage(folder).free
    low = free < LOW_DISK
    yield Check(area, "disk", Verdict.WARNING if low else Verdict.OK, f"{_size(free)} free")


def _content(area: str, path: Path) -> Iterator[Check]:
    from spanloom.store.reader import StoreReader

    with StoreReader(path) as store:
        faults = store.faults()
        if faults:
            text = f"it is damaged: {'; '.join(faults)}; record to another file, and read from this one what can be"
            yield Check(area, "content", Verdict.PROBLEM, text)
        else:
            runs = store.runs()
            lost = sum(run.dropped for run in runs)
            yield Check(
                area,
                "content",
                Verdict.OK,
                f"{count_of(len(runs), 'run')}, {_size(path.stat().st_size)}, no damage",
            )
            if lost:
                yield Check(
                    area,
                    "losses",
                    Verdict.WARNING,
                    f"events that were lost: {lost:,}, in {sum(run.dropped > 0 for run in runs)} of its runs",
                )
    wal = path.with_name(path.name + "-wal")
    size = wal.stat().st_size if wal.exists() else 0
    if size > LARGE_WAL:
        text = f"{_size(size)} in {wal.name}: a program has the file open, or had when it died; the next run tidies up"
        yield Check(area, "log", Verdict.WARNING, text)


def _writable(area: str, path: Path) -> Check:
    place = next(each for each in (path, *path.parents) if _exists(each))
    if place == path:
        # The folder, too: SQLite makes files beside it.
        blocked = next((each for each in (path, path.parent) if not os.access(each, os.W_OK)), None)
    else:
        blocked = None if place.is_dir() and os.access(place, os.W_OK | os.X_OK) else place
    if blocked is None:
        return Check(area, "writing", Verdict.OK, "allowed")
    what = "is not a folder" if place != path and not place.is_dir() else "may not be written"
    return Check(
        area,
        "writing",
        Verdict.PROBLEM,
        f"{blocked} {what}; set SPANLOOM_RECORD to a file that can be written",
    )


def _exists(path: Path) -> bool:
    """Tell whether something is at `path`, as far as this user can see."""
    return os.path.exists(path)  # noqa: PTH110 -- Path.exists raises where a folder may not be read or a name is too long


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} B"
