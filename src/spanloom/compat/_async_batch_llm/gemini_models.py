"""Gemini's models, called through the caller's google-genai client, which is not imported here."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

from spanloom.compat._async_batch_llm.gemini_response import response_of
from spanloom.compat._async_batch_llm.models import LLMResponse

__all__ = ["GeminiCachedModel", "GeminiModel"]

_log = logging.getLogger(__name__)

TAGS_PREFIX: Final = "abl-tags:"
"""Prefix of the display name of a cache with tags; the same as async-batch-llm's, so its caches are found, too."""
SHORT_S: Final = 60
"""Seconds of lifetime, or of margin before its end, below which a cache is of little use."""
TRYING_OUT_S: Final = 10
"""Seconds of lifetime below which a cache is taken for an experiment, without a warning."""


class GeminiModel:
    """A model of Gemini.

    Args:
        model: Its name.
        client: A ``google.genai.Client``.
        safety_settings: For all calls; ``None`` for the provider's.
        system_instruction: For all calls that bring none of their own.
    """

    def __init__(
        self,
        model: str,
        client: Any,  # google.genai.Client
        *,
        safety_settings: list[dict[str, Any]] | None = None,
        system_instruction: str | None = None,
    ) -> None:
        self._model = model
        self._client = client
        self._safety_settings = safety_settings
        self._system_instruction = system_instruction

    async def generate(
        self,
        prompt: str | list[Any],
        *,
        temperature: float = 0.0,
        system_instruction: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> LLMResponse:
        """Return the answer to `prompt`.

        Raises:
            ValueError: there is no answer, as when a safety filter has blocked it.
        """
        given: dict[str, Any] = {"temperature": temperature}
        instruction = system_instruction or self._system_instruction
        if instruction is not None:
            given["system_instruction"] = instruction
        if self._safety_settings:
            given["safety_settings"] = self._safety_settings
        answer = await self._client.aio.models.generate_content(
            model=self._model, contents=prompt, config=given | (config or {})
        )
        return response_of(answer)


class GeminiCachedModel:
    """A model of Gemini with cached content: share one instance among all items that need the content.

    `prepare` takes an existing cache, or creates one. `generate` creates a new one when it is about to expire, once for
    all callers that wait. `cleanup` leaves the cache in place for the next run.

    Args:
        model: Its name.
        client: A ``google.genai.Client``.
        cached_content: The content.
        cache_ttl_seconds: Lifetime of a new cache, in seconds.
        cache_renewal_buffer_seconds: Seconds before its end from which a cache is not used any more; less than
            `cache_ttl_seconds`.
        auto_renew: Whether `generate` creates a new one then.
        cache_tags: Tags that an existing cache must have, and that a new one gets; short ones, as they are kept in
            its display name.
        safety_settings: For all calls; ``None`` for the provider's.

    Raises:
        ValueError: a cache would never be used.
    """

    def __init__(
        self,
        model: str,
        client: Any,  # google.genai.Client
        cached_content: Sequence[Any],
        *,
        cache_ttl_seconds: int = 3600,
        cache_renewal_buffer_seconds: int = 300,
        auto_renew: bool = True,
        cache_tags: Mapping[str, str] | None = None,
        safety_settings: list[dict[str, Any]] | None = None,
    ) -> None:
        if cache_renewal_buffer_seconds >= cache_ttl_seconds:
            raise ValueError(
                f"cache_renewal_buffer_seconds ({cache_renewal_buffer_seconds}) must be less than "
                f"cache_ttl_seconds ({cache_ttl_seconds})."
            )
        if TRYING_OUT_S <= cache_ttl_seconds < SHORT_S:
            warnings.warn(
                f"cache_ttl_seconds ({cache_ttl_seconds}) is less than 60 seconds: such a cache is hardly ever used.",
                stacklevel=2,
            )
        if cache_renewal_buffer_seconds < SHORT_S:
            warnings.warn(
                f"cache_renewal_buffer_seconds ({cache_renewal_buffer_seconds}) is less than 60 seconds: "
                f"a slow call may outlive its cache.",
                stacklevel=2,
            )
        self._model = model
        self._client = client
        self._cached_content = list(cached_content)
        self._ttl_s = cache_ttl_seconds
        self._margin_s = cache_renewal_buffer_seconds
        self._auto_renew = auto_renew
        self._cache_tags = dict(cache_tags or {})
        self._safety_settings = safety_settings
        self._cache: Any = None
        self._cache_created_at: float | None = None
        self._lock = asyncio.Lock()

    @property
    def cache_name(self) -> str | None:
        """The provider's name of the cache; ``None`` without one."""
        return None if self._cache is None else self._cache.name

    async def prepare(self) -> None:
        """Find a cache, or create one; once, however many callers there are."""
        async with self._lock:
            if self._cache is None:
                await self._find_or_create()

    async def cleanup(self) -> None:
        """Leave the cache to the next run: it expires by itself."""

    async def delete_cache(self) -> None:
        """Delete the cache, once, however many callers there are. A failure is only logged: it expires by itself."""
        cache, self._cache, self._cache_created_at = self._cache, None, None
        if cache is None:
            return
        try:
            await self._client.aio.caches.delete(name=cache.name)
        except Exception:  # noqa: BLE001 -- see the docstring
            _log.warning("cannot delete the cache %s", cache.name, exc_info=True)

    async def generate(
        self,
        prompt: str | list[Any],
        *,
        temperature: float = 0.0,
        system_instruction: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> LLMResponse:
        """Return the answer to `prompt`.

        Raises:
            ValueError: there is no answer, or `system_instruction` is given, which belongs to the cache.
            RuntimeError: there is no cache, and none is to be created.
        """
        if system_instruction is not None:
            raise ValueError(
                "system_instruction cannot be overridden per-call with cached models: "
                "it is a part of the cache. Make another GeminiCachedModel."
            )
        if self._auto_renew and self._is_cache_expired():
            async with self._lock:
                if self._is_cache_expired():  # not renewed by another caller meanwhile
                    self._cache = None
                    await self._find_or_create()
        if self._cache is None:
            raise RuntimeError("Cache not initialized: await prepare() first")
        given: dict[str, Any] = {"cached_content": self._cache.name, "temperature": temperature}
        if self._safety_settings:
            given["safety_settings"] = self._safety_settings
        answer = await self._client.aio.models.generate_content(
            model=self._model, contents=prompt, config=given | (config or {})
        )
        return response_of(answer)

    def _is_cache_expired(self) -> bool:
        if self._cache is None or self._cache_created_at is None:
            return True
        return self._is_old(self._cache_created_at)

    def _is_old(self, created_at: float) -> bool:
        return created_at + self._ttl_s - time.time() <= self._margin_s

    async def _find_or_create(self) -> None:
        try:
            async for cache in await self._client.aio.caches.list():
                if self._take(cache):
                    return
        except Exception:  # noqa: BLE001 -- without a list, none is found
            _log.warning("cannot list the caches: a new one is made", exc_info=True)
        config = {"contents": self._cached_content, "ttl": f"{self._ttl_s}s"}
        if self._cache_tags:
            config["display_name"] = _encode_tags(self._cache_tags)
        self._cache = await self._client.aio.caches.create(model=self._model, config=_typed(config))
        self._cache_created_at = time.time()

    def _take(self, cache: Any) -> bool:  # google.genai.types.CachedContent
        """Use `cache` if it is of this model, has the tags and is not too old; an unknown age counts as too old."""
        if not cache.model or not cache.model.endswith(self._model):
            return False
        if self._cache_tags:
            tags = _decode_tags(getattr(cache, "display_name", None))
            if tags is None or any(tags.get(key) != value for key, value in self._cache_tags.items()):
                return False
        created = getattr(cache, "create_time", None)
        if not created or self._is_old(created.timestamp()):
            return False
        self._cache, self._cache_created_at = cache, created.timestamp()
        return True


def _typed(config: dict[str, Any]) -> Any:
    """Return `config` as the client's own type, whose errors are clearer; the client takes a dict, too."""
    try:
        types = importlib.import_module("google.genai.types")
    except ImportError:
        return config
    return types.CreateCachedContentConfig(**config)


def _encode_tags(tags: Mapping[str, str]) -> str:
    return TAGS_PREFIX + json.dumps(tags, sort_keys=True, separators=(",", ":"))


def _decode_tags(display_name: str | None) -> dict[str, str] | None:
    if not display_name or not display_name.startswith(TAGS_PREFIX):
        return None
    try:
        tags = json.loads(display_name.removeprefix(TAGS_PREFIX))
    except ValueError:
        return None
    return tags if isinstance(tags, dict) else None
