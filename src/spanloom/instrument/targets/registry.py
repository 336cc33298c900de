"""What can be patched: a name, the module whose import makes it worth it, and the file that knows how.

A file is loaded when its library is, and not before. It has

* ``VERSIONS: Final[Mapping[str, str]]``, the distributions that it was tested with and their releases, for the warning
  should a library have changed its inside; empty for the standard library;
* ``def patch(module: ModuleType, patches: Patches) -> None``, called with the module of `Target.module` once that has
  been imported. It replaces attributes by `Patches.replace` and `Patches.wrap` and does nothing else: what it raises
  undoes all that it has replaced, and is a warning. It may be called again, after a library was reloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["TARGETS", "Target"]


class Target(msgspec.Struct, frozen=True):
    """Something that can be patched.

    Attributes:
        module: Patched when this is imported.
        file: The module that patches it.
        by_default: Whether it is among those that are meant when none is named.
    """

    module: str
    file: str
    by_default: bool = True


_LANGCHAIN_CANCELLED: Final = "spanloom.instrument.targets.langchain_cancelled"

TARGETS: Final[Mapping[str, Target]] = {
    "asyncio": Target("asyncio", "spanloom.instrument.targets.asyncio"),
    "asyncio.sync": Target("asyncio", "spanloom.instrument.targets.asyncio_sync", by_default=False),
    "logging": Target("logging", "spanloom.instrument.targets.logging", by_default=False),
    "concurrent.futures": Target(
        "concurrent.futures.thread", "spanloom.instrument.targets.concurrent_futures"
    ),
    "concurrent.futures.process": Target(
        "concurrent.futures.process", "spanloom.instrument.targets.concurrent_futures_process"
    ),
    "anyio": Target("anyio._backends._asyncio", "spanloom.instrument.targets.anyio"),
    "aiometer": Target("aiometer", "spanloom.instrument.targets.aiometer"),
    "tqdm": Target("tqdm.asyncio", "spanloom.instrument.targets.tqdm"),
    "backoff": Target("backoff", "spanloom.instrument.targets.backoff"),
    "tenacity": Target("tenacity", "spanloom.instrument.targets.tenacity"),
    "stamina": Target("stamina", "spanloom.instrument.targets.stamina"),
    "aiohttp": Target("aiohttp", "spanloom.instrument.targets.aiohttp"),
    "httpx": Target("httpx", "spanloom.instrument.targets.httpx"),
    "httpx2": Target("httpx2", "spanloom.instrument.targets.httpx2"),
    "openai": Target("openai", "spanloom.instrument.targets.openai"),
    "anthropic": Target("anthropic", "spanloom.instrument.targets.anthropic"),
    "llama_index": Target(
        "llama_index_instrumentation.dispatcher", "spanloom.instrument.targets.llama_index"
    ),
    "llama_index.callbacks": Target(
        "llama_index.core.callbacks.base", "spanloom.instrument.targets.llama_index_callbacks"
    ),
    "langchain": Target("langchain_core.callbacks.manager", "spanloom.instrument.targets.langchain"),
    "langchain.chat_models": Target("langchain_core.language_models.chat_models", _LANGCHAIN_CANCELLED),
    "langchain.llms": Target("langchain_core.language_models.llms", _LANGCHAIN_CANCELLED),
    "langchain.retrievers": Target("langchain_core.retrievers", _LANGCHAIN_CANCELLED),
    "langchain.tools": Target("langchain_core.tools.base", _LANGCHAIN_CANCELLED),
}
"""The targets by name, in the order in which they are patched."""
