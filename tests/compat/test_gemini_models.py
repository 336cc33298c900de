"""Gemini's models over a client that is made up: what is asked of it, and what becomes of its answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from spanloom.compat.async_batch_llm import GeminiCachedModel, GeminiModel, ManagedLLMModel


def answer(text: str | None = "yes", **more: Any) -> SimpleNamespace:
    """Return an answer like google-genai's."""
    usage = SimpleNamespace(
        prompt_token_count=10,
        candidates_token_count=5,
        total_token_count=15,
        cached_content_token_count=None,
    )
    return SimpleNamespace(**{"text": text, "usage_metadata": usage, "candidates": None, **more})


def cache(name: str, age_s: float | None, display_name: str | None = None) -> SimpleNamespace:
    """Return a cache of the model ``pro``, so many seconds old."""
    created = None if age_s is None else datetime.fromtimestamp(time.time() - age_s, UTC)
    return SimpleNamespace(name=name, model="models/pro", create_time=created, display_name=display_name)


class Client:
    """Stands for ``google.genai.Client``; remembers what it was asked."""

    def __init__(self, *caches: SimpleNamespace, answers: SimpleNamespace | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.created: list[Any] = []
        self.deleted: list[str] = []
        self.fails = False
        self._caches = caches
        self._answer = answers or answer()
        self.aio = SimpleNamespace(
            models=SimpleNamespace(generate_content=self._generate),
            caches=SimpleNamespace(list=self._list, create=self._create, delete=self._delete),
        )

    async def _generate(self, **request: Any) -> SimpleNamespace:
        self.asked.append(request)
        return self._answer

    async def _list(self) -> AsyncIterator[SimpleNamespace]:
        if self.fails:
            raise OSError("no list")

        async def each() -> AsyncIterator[SimpleNamespace]:
            for one in self._caches:
                yield one

        return each()

    async def _create(self, *, model: str, config: Any) -> SimpleNamespace:
        await asyncio.sleep(0.01)
        self.created.append(config)
        return cache(f"new {len(self.created)}", 0)

    async def _delete(self, *, name: str) -> None:
        await asyncio.sleep(0.01)
        self.deleted.append(name)
        if self.fails:
            raise OSError("no delete")


async def test_a_model_asks_with_what_it_is_given() -> None:
    """A call's own options win over those of the model, which win over none."""
    client = Client()
    model = GeminiModel("pro", client, safety_settings=[{"a": 1}], system_instruction="be brief")
    response = await model.generate("why?", temperature=0.3)
    await model.generate(["why?"], system_instruction="be long", config={"temperature": 0.9, "top_k": 3})
    assert client.asked == [
        {
            "model": "pro",
            "contents": "why?",
            "config": {"temperature": 0.3, "system_instruction": "be brief", "safety_settings": [{"a": 1}]},
        },
        {
            "model": "pro",
            "contents": ["why?"],
            "config": {
                "temperature": 0.9,
                "system_instruction": "be long",
                "safety_settings": [{"a": 1}],
                "top_k": 3,
            },
        },
    ]
    assert (response.text, response.metadata) == ("yes", None)
    assert response.token_usage == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


async def test_an_answer_tells_of_its_safety_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """As far as it can be read; one without usage has taken no tokens, which is said to who debugs."""
    rating = SimpleNamespace(category="HATE", probability="LOW")
    candidate = SimpleNamespace(safety_ratings=[rating], finish_reason="STOP")
    model = GeminiModel("pro", Client(answers=answer(candidates=[candidate], usage_metadata=None)))
    with caplog.at_level(logging.DEBUG, "spanloom"):
        response = await model.generate("x")
    assert response.metadata == {"safety_ratings": {"HATE": "LOW"}, "finish_reason": "STOP"}
    assert (response.total_tokens, response.token_usage["input_tokens"]) == (0, 0)
    assert "no usage_metadata" in caplog.text
    odd = await GeminiModel("pro", Client(answers=answer(candidates=7))).generate("x")
    assert odd.metadata is None
    assert "cannot read the metadata" in caplog.text
    blocked = GeminiModel("pro", Client(answers=answer(None, candidates=[candidate])))
    with pytest.raises(ValueError, match=r"Empty response from model .*HATE.*LOW"):
        await blocked.generate("x")


async def test_a_cache_that_lasts_is_found_and_others_are_not() -> None:
    """Of the model, with the tags, and not about to end; otherwise a new one is made, once for all who wait."""
    tags = {"version": "1"}
    tagged = 'abl-tags:{"version":"1"}'
    good = cache("good", 100, tagged)
    others = [
        SimpleNamespace(name="other model", model="models/flash", create_time=None),
        cache("old", 3400, tagged),
        cache("of unknown age", None, tagged),
        cache("untagged", 0, "mine"),
        cache("broken tags", 0, "abl-tags:{"),
        cache("no dict", 0, "abl-tags:[]"),
        cache("other tags", 0, 'abl-tags:{"version":"2"}'),
    ]
    client = Client(*others, good)
    model = GeminiCachedModel("pro", client, ["a book"], cache_tags=tags)
    assert isinstance(model, ManagedLLMModel)
    assert model.cache_name is None
    await asyncio.gather(*(model.prepare() for _ in range(5)))
    await model.generate("x")
    assert (model.cache_name, client.created) == ("good", [])
    assert client.asked[0]["config"]["cached_content"] == "good"
    client = Client(*others)
    model = GeminiCachedModel("pro", client, ["a book"], cache_tags=tags, cache_ttl_seconds=3600)
    await asyncio.gather(*(model.generate("x") for _ in range(5)))
    assert client.created == [{"contents": ["a book"], "ttl": "3600s", "display_name": tagged}]
    assert {one["config"]["cached_content"] for one in client.asked} == {"new 1"}
    await model.cleanup()
    assert client.deleted == []


async def test_a_cache_that_is_about_to_end_is_renewed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By who calls, for all who call; not if that is not wanted."""
    client = Client()
    model = GeminiCachedModel("pro", client, [], safety_settings=[{"a": 1}])
    manual = GeminiCachedModel("pro", client, [], auto_renew=False)
    await model.prepare()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3400)
    await asyncio.gather(*(model.generate("x") for _ in range(5)))
    assert len(client.created) == 2
    assert model.cache_name == "new 2"
    with pytest.raises(RuntimeError, match=r"prepare\(\) first"):
        await manual.generate("x")
    with pytest.raises(ValueError, match="system_instruction cannot be overridden"):
        await model.generate("x", system_instruction="other")


async def test_a_cache_is_deleted_once_and_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a list that cannot be had nor a cache that cannot be deleted stops anybody."""
    client = Client()
    client.fails = True
    model = GeminiCachedModel("pro", client, [])
    await model.prepare()
    await asyncio.gather(*(model.delete_cache() for _ in range(5)))
    assert (client.deleted, model.cache_name) == (["new 1"], None)
    assert "cannot list the caches" in caplog.text
    assert "cannot delete the cache new 1" in caplog.text


def test_a_cache_that_would_hardly_be_used_is_warned_of() -> None:
    """One that never would be is an error; a very short one is there to try something out."""
    with pytest.raises(ValueError, match=r"cache_renewal_buffer_seconds \(300\) must be less than"):
        GeminiCachedModel("pro", Client(), [], cache_ttl_seconds=300)
    with pytest.warns(UserWarning, match="is less than 60 seconds") as caught:
        GeminiCachedModel("pro", Client(), [], cache_ttl_seconds=30, cache_renewal_buffer_seconds=5)
    assert len(caught) == 2
    with pytest.warns(UserWarning, match="cache_renewal_buffer_seconds") as caught:
        GeminiCachedModel("pro", Client(), [], cache_ttl_seconds=5, cache_renewal_buffer_seconds=1)
    assert len(caught) == 1
