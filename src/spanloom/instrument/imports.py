"""Functions to be called after the import of a module.

Theory of operation. A finder stands before the others and leaves every module to them; where the module is one that
somebody waits for, it puts its own loader before theirs. That takes itself out again before the module's first line
runs, and calls the functions after its last one, while whoever else imports the module still waits for it.

wrapt has that as well; it imports ``importlib.metadata`` for it, which takes longer to load than everything here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final, TypeAlias

from spanloom.callbacks.decorate import hide_frame

__all__ = ["Imported", "no_longer_when_imported", "when_imported"]

Imported: TypeAlias = Callable[[ModuleType], object]
"""Is called with a module that has been imported."""

_lock: Final = threading.Lock()
_waiting: Final[dict[str, Imported]] = {}


def when_imported(name: str, function: Imported) -> None:
    """Call `function` with the module `name` after each import of it from now on.

    It is called in the thread that imports, whichever that is, and must not raise. It is not called for a module that
    has been imported already.

    Args:
        name: The full name of the module.
        function: The function. A module has only one: the last one given.
    """
    with _lock:
        _waiting[name] = function
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)


def no_longer_when_imported(name: str) -> None:
    """Have nothing called with the module `name` any more; undoes `when_imported`."""
    with _lock:
        _waiting.pop(name, None)
        if not _waiting and _finder in sys.meta_path:
            # A new list: an import in another thread is perhaps in the middle of the old one, and would miss a finder.
            sys.meta_path = [finder for finder in sys.meta_path if finder is not _finder]


class _Finder(threading.local):
    """Finds the wanted modules by asking the other finders; thread-local, as one of those may ask all finders again."""

    def __init__(self) -> None:
        self._asking: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _waiting or name in self._asking:
            return None
        self._asking.add(name)
        try:
            spec = _spec_of_others(name, path, target)
        finally:
            self._asking.discard(name)
        if spec is not None and hasattr(spec.loader, "exec_module"):  # a namespace package runs no code
            ours: Any = _Loader(spec.loader)
            spec.loader = ours
        return spec


def _spec_of_others(name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = None if finder is _finder else getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None if find is None else find(name, path, target)
        if spec is not None:
            return spec
    return None


class _Loader:
    """Loads by another loader."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec: Any = module.__spec__
        if spec is not None and spec.loader is self:
            spec.loader = self._loader
        if getattr(module, "__loader__", None) is self:
            with suppress(AttributeError):
                module.__loader__ = self._loader
        try:
            self._loader.exec_module(module)
        except BaseException as error:
            hide_frame(error)  # else importlib would not remove its own frames from the traceback
            raise
        function = _waiting.get(module.__name__)
        if function is not None:
            function(module)

    # Any: all other attributes of that loader, for code that inspects the loader of a module before it is loaded.
    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


_finder: Final = _Finder()
