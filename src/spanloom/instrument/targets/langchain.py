"""LangChain: every run that its callbacks report is an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.harmless import guarded
from spanloom.instrument.langchain import LangChainHandler
from spanloom.instrument.patches import Patches

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"langchain-core": "1.7.2"}

_HANDLER: Final = LangChainHandler()
"""One for all: it knows the runs by their ids."""


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch `module`, ``langchain_core.callbacks.manager``."""
    patches.wrap(module, "_configure", _configure)


def _configure(configure: Callable[..., Any], _: object, args: Args, kwargs: KwArgs) -> Any:
    """Make the callback manager of a run, with our handler among its own; the runs inside inherit it."""
    manager = configure(*args, **kwargs)
    guarded("langchain", _join, manager)
    return manager


def _join(manager: Any) -> None:
    if not any(isinstance(handler, LangChainHandler) for handler in manager.handlers):
        manager.add_handler(_HANDLER, inherit=True)
