"""LangChain's models, tools and retrievers: a cancelled call ends its run, which the callbacks do not report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from spanloom.callbacks.decorate import hide_frame
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.langchain import BEGUN, back_to, whereabouts
from spanloom.instrument.patches import Patches

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"langchain-core": "1.7.2"}

_METHODS: Final[Mapping[str, tuple[str, str]]] = {
    "langchain_core.language_models.chat_models": ("BaseChatModel", "agenerate"),
    "langchain_core.language_models.llms": ("BaseLLM", "agenerate"),
    "langchain_core.retrievers": ("BaseRetriever", "ainvoke"),
    "langchain_core.tools.base": ("BaseTool", "arun"),
}


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch `module`, one of those that have such a class."""
    owner, method = _METHODS[module.__name__]
    patches.wrap(getattr(module, owner), method, _call)


async def _call(call: Callable[..., Any], _: object, args: Args, kwargs: KwArgs) -> Any:
    before = whereabouts()
    outer, begun = BEGUN.get(), list[Callable[[BaseException], object]]()
    BEGUN.set(begun)
    try:
        return await call(*args, **kwargs)
    except BaseException as error:
        for end in begun:
            end(error)
        hide_frame(error)
        raise
    finally:
        BEGUN.set(outer)
        back_to(*before)
