"""`instrument` and `uninstrument`: patch libraries so that their calls become events, and undo that."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Final, Protocol, cast

from spanloom.instrument.harmless import warn_once
from spanloom.instrument.imports import no_longer_when_imported, when_imported
from spanloom.instrument.patches import Patches
from spanloom.instrument.targets import TARGETS, Target

__all__ = ["instrument", "instrumented", "uninstrument", "wanted"]


class TargetFile(Protocol):
    """What a file in ``spanloom.instrument.targets`` has."""

    VERSIONS: Mapping[str, str]

    def patch(self, module: ModuleType, patches: Patches) -> None:
        """Patch."""


# Re-entrant: a target may import its library's parts, which are targets, too.
_lock: Final = threading.RLock()
_wanted: Final[set[str]] = set()
_patched: Final[dict[str, Patches]] = {}


def instrument(*targets: str) -> None:
    """Patch libraries, so that what a program does through them becomes events.

    ::

        spanloom.instrument()                       # every one that is imported, now or later
        spanloom.instrument("asyncio", "tenacity")

    A library is patched as soon as it is imported, or at once if it has been, together with names that other modules
    have imported from it (``from asyncio import gather``). What the program does stays the same: results, exceptions,
    order, cancellation. To instrument twice is to instrument once; `uninstrument` undoes it. A library whose inside is
    not the one that is known is left alone, with a warning.

    Args:
        targets: Names of libraries; see the reference page on instrumenting. Without any, all are meant except those
            that are patched on request only.

    Raises:
        ValueError: there is no target of that name; nothing has been patched.
    """
    _check(targets)
    names = [name for name, target in TARGETS.items() if (name in targets if targets else target.by_default)]
    with _lock:
        _wanted.update(names)
    for name in names:
        _begin(name, TARGETS[name])


def uninstrument(*targets: str) -> None:
    """Undo `instrument`; the events of calls that are under way end with these calls.

    Args:
        targets: Names of libraries; without any, all are meant.

    Raises:
        ValueError: there is no target of that name; nothing has been undone.
    """
    _check(targets)
    with _lock:
        gone = {name for name in TARGETS if not targets or name in targets}
        _wanted.difference_update(gone)
        in_the_way = _in_the_way(gone)
        undone = [name for name in _patched if name in in_the_way]
        for name in reversed(undone):
            _patched.pop(name).undo()
        for module in {TARGETS[name].module for name in gone} - {TARGETS[name].module for name in _wanted}:
            no_longer_when_imported(module)
    for name in undone:
        if name not in gone:
            _begin(name, TARGETS[name])


def _in_the_way(gone: set[str]) -> set[str]:
    """Return the patched targets that go, and those that may wrap one that goes: these are undone and made again."""
    found = gone & _patched.keys()
    more = found
    while more:
        replaced = set[tuple[int, str]]().union(*(_patched[name].places() for name in found))
        more = {name for name in _patched.keys() - found if not replaced.isdisjoint(_patched[name].places())}
        found = found | more
    return found


def instrumented() -> tuple[str, ...]:
    """Return the names of the targets that are patched now: those of libraries that are imported."""
    with _lock:
        return tuple(name for name in TARGETS if name in _patched)


def wanted() -> tuple[str, ...]:
    """Return the names of the targets that are patched, or will be when their libraries are imported."""
    with _lock:
        return tuple(name for name in TARGETS if name in _wanted)


def _check(targets: tuple[str, ...]) -> None:
    for name in targets:
        if name not in TARGETS:
            raise ValueError(f"there is no target {name!r}; there are: {', '.join(TARGETS)}")


def _begin(name: str, target: Target) -> None:
    when_imported(target.module, _imported)
    if target.module in sys.modules:
        # At once, unless another thread is importing it: then after that.
        _patch(name, target, importlib.import_module(target.module))


def _imported(module: ModuleType) -> None:
    for name, target in TARGETS.items():
        if target.module == module.__name__ and name in _wanted:
            _patch(name, target, module, just_imported=True)


def _patch(name: str, target: Target, module: ModuleType, *, just_imported: bool = False) -> None:
    versions: Mapping[str, str] = {}
    try:
        # Not under the lock: this import may wait for that of another thread, whose hook waits for the lock.
        file = cast("TargetFile", importlib.import_module(target.file))
        versions = file.VERSIONS
        with _lock:
            _apply(name, file, module, just_imported)
    except Exception as error:  # noqa: BLE001 -- whatever a library has changed, the program must run
        known = ", ".join(f"{distribution} {version}" for distribution, version in versions.items())
        warn_once(
            f"target {name}",
            "%s is not instrumented, because it is not as it is known%s: %s: %s",
            name,
            f" (from {known})" if known else "",
            type(error).__name__,
            error,
        )


def _apply(name: str, file: TargetFile, module: ModuleType, just_imported: bool) -> None:
    if name not in _wanted:
        return  # it was uninstrumented meanwhile
    patches = _patched.get(name)
    if patches is None:  # not `or`: patches without a replacement are false
        patches = Patches()
    try:
        file.patch(module, patches)
        patches.settle(module if just_imported else None)
    except BaseException:
        patches.undo()
        _patched.pop(name, None)
        raise
    _patched[name] = patches
