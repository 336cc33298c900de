"""Every exception that spanloom itself raises.

The tree::

    SpanloomError
    ├── HandlerError            a handler raised and raise_handler_errors=True was asked for
    ├── MissingDependencyError  (also ImportError) an optional dependency is not installed
    ├── NestedLoopError         (also RuntimeError) run_sync would wait for the loop it blocks
    └── TooManyFailuresError    (also RuntimeError) fill_batch saw more failures than allowed

Bad arguments raise the built-in ``ValueError`` or ``TypeError``; an exception of the user's own
code is always raised as it is, the same object, never wrapped.
"""

from __future__ import annotations

__all__ = [
    "HandlerError",
    "MissingDependencyError",
    "NestedLoopError",
    "SpanloomError",
    "TooManyFailuresError",
]


class SpanloomError(Exception):
    """The root of every exception class that spanloom defines."""


class HandlerError(SpanloomError):
    """A handler's hook failed while ``raise_handler_errors=True``; ``__cause__`` is its exception."""


class MissingDependencyError(SpanloomError, ImportError):
    """A feature needs a package that is not installed; the message names the extra to install."""


class NestedLoopError(SpanloomError, RuntimeError):
    """`run_sync` was given a coroutine that waits for the very loop which `run_sync` blocks."""


class TooManyFailuresError(SpanloomError, RuntimeError):
    """`fill_batch` gave up; ``__cause__`` is the last failure."""
