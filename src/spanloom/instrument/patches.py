"""What has been replaced in somebody else's modules, so that it can be undone.

Theory of operation. A function can be reached in more ways than one: by the attribute of its module or class, and by
each name that another module has imported (``from asyncio import gather``), before or after it was replaced. So
`replace` sets the attribute; `settle` searches all modules for names that still hold the original, and `undo` for names
that hold the replacement. A replacement that was kept anywhere else, in a closure or a class, is switched off by
`active`: it calls the original from then on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from types import ModuleType
from typing import Any, Final

import msgspec

from spanloom.instrument.functions import Wrapper
from spanloom.instrument.stand_in import stand_in

__all__ = ["Patches"]

_MISSING: Final = object()
_OURS: Final = "spanloom"
MAX_WRAPPERS: Final = 100
"""Nested wrappers that are followed, at most: a function may wrap itself."""


class _Replaced(msgspec.Struct, eq=False):
    """One attribute: what it was, and what it is now."""

    owner: Any
    name: str
    inherited: bool
    original: Any
    replacement: Any


class Patches:
    """The replacements of one target; safe from any thread.

    Attributes:
        active: False once they have been undone: replacements that are kept elsewhere then call the original.
    """

    def __init__(self) -> None:
        self.active: bool = True
        self._done: list[_Replaced] = []
        self._at_undo: list[Callable[[], object]] = []
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._done)

    def places(self) -> set[tuple[int, str]]:
        """Return which attributes have been replaced: the ids of their modules or classes, and their names."""
        with self._lock:
            return {(id(done.owner), done.name) for done in self._done}

    def is_active(self) -> bool:
        """Return `active`, as a callable."""
        return self.active

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> Any:
        """Replace an attribute of a module or class, and return what it was.

        Nothing happens if it is our replacement already, or wraps it, as a replacement by another target may: to patch
        twice is to patch once.

        Args:
            owner: The module or class.
            name: The attribute.
            make: Called with the original, which for a class may be a descriptor; returns the replacement, which should
                do what the original does if `active` is False.

        Raises:
            AttributeError: there is no such attribute, or it cannot be set.
        """
        with self._lock:
            own = vars(owner).get(name, _MISSING)
            original = getattr(owner, name, _MISSING) if own is _MISSING else own
            if (
                original is _MISSING
            ):  # not Python's own message, which for a module under import speaks of a circle
                raise AttributeError(f"{owner.__name__} has no {name}")
            for done in self._done:
                if done.owner is owner and done.name == name and _is_within(done.replacement, original):
                    return done.original
            replacement = make(original)
            setattr(owner, name, replacement)
            self._done.append(_Replaced(owner, name, own is _MISSING, original, replacement))
            return original

    def replace_function(
        self, inside: ModuleType, name: str, make: Callable[[Any], Any], *offered_by: ModuleType
    ) -> None:
        """Replace a function by the same replacement in the module that defines it and in those that re-export it.

        Unpickling looks for it where it is defined.

        Args:
            inside: The module that defines it.
            name: Its name.
            make: Called with the function, once; as for `replace`.
            offered_by: The modules that re-export it.

        Raises:
            AttributeError: there is no such attribute, or it cannot be set.
        """
        made: dict[int, Any] = {}

        def once(original: Any) -> Any:
            if id(original) not in made:
                made[id(original)] = make(original)
            return made[id(original)]

        for module in (inside, *offered_by):
            self.replace(module, name, once)

    def wrap(self, owner: Any, name: str, wrapper: Wrapper) -> Any:
        """Replace a function or method by one that calls `wrapper`, and return what it was.

        A call has one frame of ours in between. Signature, name, kind (``inspect.iscoroutinefunction``),
        binding and pickling stay those of the original.

        Args:
            owner: The module or class.
            name: The attribute.
            wrapper: Called as ``wrapper(wrapped, instance, args, kwargs)``; ``async def`` for a coroutine function.

        Raises:
            AttributeError: there is no such attribute, or it cannot be set.
        """
        is_method = not isinstance(owner, ModuleType)
        return self.replace(
            owner, name, lambda original: stand_in(original, wrapper, self.is_active, is_method=is_method)
        )

    def at_undo(self, function: Callable[[], object]) -> None:
        """Call `function` once after everything has been undone: to end what a replacement would have ended."""
        with self._lock:
            if function not in self._at_undo:
                self._at_undo.append(function)

    def settle(self, just_imported: ModuleType | None = None) -> None:
        """Put the replacements also where modules have imported the originals: ``from asyncio import gather``.

        Args:
            just_imported: The library, if its import is about to end: only modules imported since it began are searched
                then, not the hundreds that were there before.
        """
        with self._lock:
            names = {id(done.original): (done.original, done.replacement) for done in self._functions()}
            _rename(names, _before(just_imported, names) if just_imported is not None and names else 0)

    def undo(self) -> None:
        """Put everything back, the last one first.

        An attribute that somebody else has replaced in the meantime stays as it is: what it wraps is our replacement,
        which calls the original from now on.
        """
        with self._lock:
            self.active = False
            names = {id(done.replacement): (done.replacement, done.original) for done in self._functions()}
            try:
                while self._done:
                    _put_back(self._done.pop())
                while self._at_undo:
                    self._at_undo.pop(0)()
            finally:
                _rename(names)  # last: the names in other modules

    def _functions(self) -> Iterator[_Replaced]:
        """Yield the replacements that other modules may have imported by name: not those of class attributes."""
        return (done for done in self._done if isinstance(done.owner, ModuleType))


def _is_within(replacement: Any, function: Any) -> bool:
    """Tell whether `function` is `replacement`, or wraps it, by ``__wrapped__``."""
    for _ in range(MAX_WRAPPERS):
        if function is replacement or function is None:
            break
        function = getattr(function, "__wrapped__", None)
    return function is replacement


def _put_back(done: _Replaced) -> None:
    if vars(done.owner).get(done.name, _MISSING) is not done.replacement:
        return
    if done.inherited:
        delattr(done.owner, done.name)
    else:
        setattr(done.owner, done.name, done.original)


def _before(module: ModuleType, replacements: dict[int, tuple[Any, Any]]) -> int:
    """Return how many modules, from the first in `sys.modules` on, cannot hold a function that `module` defines.

    The import of `module` is about to end. A module is put at the end of `sys.modules` when its import begins, and
    again when that ends. So each import before that of `module` had ended before this one began, or waits for it.
    """
    places = {name: place for place, name in enumerate(sys.modules.copy())}
    began = places.get(module.__name__, 0)
    homes = (str(getattr(original, "__module__", None)) for original, _ in replacements.values())
    return began if all(places.get(home, 0) >= began for home in homes) else 0


def _rename(replacements: dict[int, tuple[Any, Any]], skipped: int = 0) -> None:
    """Replace the first of each pair by the second in the names of all modules but ours."""
    if not replacements:
        return
    for name, module in islice(sys.modules.copy().items(), skipped, None):
        if name.partition(".")[0] == _OURS or not isinstance(module, ModuleType):
            continue
        # Not `vars`, which would load a lazy module.
        namespace = object.__getattribute__(module, "__dict__")
        values = namespace.copy()
        if replacements.keys().isdisjoint(map(id, values.values())):  # nearly always, and a quick test
            continue
        for key, value in values.items():
            pair = replacements.get(id(value))
            if pair is not None and namespace.get(key) is pair[0]:
                namespace[key] = pair[1]
