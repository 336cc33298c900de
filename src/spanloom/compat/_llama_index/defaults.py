"""The handlers that all managers of a LlamaIndex program share, as in the real package."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final

from spanloom.compat._llama_index.audience import CallbackHandler

__all__ = ["with_defaults"]

REAL_CORE: Final = "llama_index.core"
REAL_SETTINGS: Final = "llama_index.core.settings"


def with_defaults(handlers: Iterable[CallbackHandler]) -> list[CallbackHandler]:
    """Return `handlers` and that of ``set_global_handler``; if there are none, those of ``Settings.callback_manager``.

    Without the real package, or before it is imported, just `handlers`.

    Args:
        handlers: Handlers given to a manager.

    Raises:
        ValueError: one of them has the type of the global handler.
    """
    own = list(handlers)
    shared: Any = getattr(sys.modules.get(REAL_CORE), "global_handler", None)
    if shared is not None:
        if any(isinstance(handler, type(shared)) for handler in own):
            raise ValueError(
                f"Cannot add two handlers of the same type {type(shared)} to the callback manager."
            )
        own.append(shared)
    if own:
        return own
    settings: Any = getattr(sys.modules.get(REAL_SETTINGS), "Settings", None)
    manager: Any = getattr(settings, "_callback_manager", None)  # the property would make one
    return [] if manager is None else list(manager.handlers)
