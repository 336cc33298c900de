"""`TokenCountingHandler`: how many tokens models received and returned."""

from __future__ import annotations

import importlib
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from spanloom.compat._llama_index.base_handler import PythonicallyPrintingBaseHandler
from spanloom.compat._llama_index.schema import CBEventType, EventPayload

__all__ = ["TokenCountingEvent", "TokenCountingHandler", "get_tokens_from_response"]

INPUT_KEYS: Final = ("prompt_tokens", "input_tokens", "prompt_token_count")
"""Providers' names for input tokens."""
OUTPUT_KEYS: Final = ("completion_tokens", "output_tokens", "candidates_token_count")
"""Providers' names for output tokens."""
CACHE_KEYS: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""Input tokens that Anthropic bills but does not count as ``input_tokens``; other providers include theirs there."""
PER_MESSAGE: Final = 3
"""Tokens around each message of a chat (OpenAI cookbook, "How to count tokens with tiktoken")."""
MODEL: Final = "gpt-3.5-turbo"
"""The model whose tokens are counted by default."""

_PIECES: Final = re.compile(r"\w+|[^\w\s]")
_logger = logging.getLogger("spanloom.compat")

# Any: payloads, responses and messages are the components' and the providers'.


@dataclass
class TokenCountingEvent:
    """The tokens of one call.

    Attributes:
        prompt: The text of the input.
        completion: The text of the output; empty for an embedding.
        completion_token_count: Output tokens.
        prompt_token_count: Input tokens.
        total_token_count: Sum of both.
        event_id: Id of the event.
    """

    prompt: str
    completion: str
    completion_token_count: int
    prompt_token_count: int
    total_token_count: int = 0
    event_id: str = ""

    def __post_init__(self) -> None:
        """Add up."""
        self.total_token_count = self.prompt_token_count + self.completion_token_count


def get_tokens_from_response(response: Any) -> tuple[int, int]:
    """Return input and output tokens as the provider counted them; 0 for what it does not report.

    Args:
        response: Has ``raw``, the provider's answer, and ``additional_kwargs``.
    """
    raw = _as_dict(getattr(response, "raw", None))
    usage = raw.get("usage", raw.get("usage_metadata", {}))
    if usage is None:
        usage = getattr(response, "additional_kwargs", None)
    usage = _as_dict(usage)
    sent = _first(usage, INPUT_KEYS)
    if "input_tokens" in usage and "prompt_tokens" not in usage:
        sent += sum(_number(usage.get(key)) for key in CACHE_KEYS)
    return sent, _first(usage, OUTPUT_KEYS)


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        value = dump()
    try:
        return dict(value or {})
    except (TypeError, ValueError):  # not a mapping: nothing that we could read
        return {}


def _first(usage: Mapping[str, Any], keys: Iterable[str]) -> int:
    return next((_number(usage[key]) for key in keys if key in usage), 0)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


class TokenCountingHandler(PythonicallyPrintingBaseHandler):
    """Count the tokens of model calls and embeddings, and stop the work when a budget is exceeded.

    The provider's own numbers count; without them, the text is tokenized.

    Args:
        tokenizer: Returns the tokens of a text. By default that of the real package if it is loaded, else tiktoken's
            for `MODEL`; without either, words and punctuation marks are counted, and a warning is logged once.
        event_starts_to_ignore: Has no effect: nothing is counted at a start.
        event_ends_to_ignore: Event types not to count.
        verbose: Print the counts of each call.
        logger: Gets what would be printed, at level DEBUG.
        token_budget: Tokens of models allowed in all. Once they are exceeded, the end of that event and the start of
            any further one raise ``ValueError`` in the code that emits it. ``None`` is no limit.
    """

    def __init__(
        self,
        tokenizer: Callable[[str], Sized] | None = None,
        event_starts_to_ignore: Iterable[CBEventType] | None = None,
        event_ends_to_ignore: Iterable[CBEventType] | None = None,
        verbose: bool = False,
        logger: logging.Logger | None = None,
        token_budget: int | None = None,
    ) -> None:
        super().__init__(event_starts_to_ignore, event_ends_to_ignore, logger)
        self.token_budget: int | None = token_budget
        self._tokenizer = tokenizer
        self._verbose = verbose
        self.reset_counts()

    def reset_counts(self) -> None:
        """Set all counts to 0."""
        self.llm_token_counts: list[TokenCountingEvent] = []
        self.embedding_token_counts: list[TokenCountingEvent] = []

    @property
    def tokenizer(self) -> Callable[[str], Sized]:
        """The tokenizer; the default one is looked up at its first use."""
        if self._tokenizer is None:
            self._tokenizer = _default_tokenizer()
        return self._tokenizer

    @property
    def total_llm_token_count(self) -> int:
        """Input and output tokens of models."""
        return sum(count.total_token_count for count in self.llm_token_counts)

    @property
    def prompt_llm_token_count(self) -> int:
        """Input tokens of models."""
        return sum(count.prompt_token_count for count in self.llm_token_counts)

    @property
    def completion_llm_token_count(self) -> int:
        """Output tokens of models."""
        return sum(count.completion_token_count for count in self.llm_token_counts)

    @property
    def total_embedding_token_count(self) -> int:
        """Tokens that were embedded."""
        return sum(count.total_token_count for count in self.embedding_token_counts)

    def start_trace(self, trace_id: str | None = None) -> None:
        """Do nothing."""

    def end_trace(
        self, trace_id: str | None = None, trace_map: Mapping[str, list[str]] | None = None
    ) -> None:
        """Do nothing."""

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        """Return the id.

        Raises:
            ValueError: the budget is exceeded.
        """
        self._check_budget()
        return event_id

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **kwargs: Any,
    ) -> None:
        """Count input and output tokens.

        Raises:
            ValueError: the budget is exceeded.
        """
        if payload is None or event_type in self.event_ends_to_ignore:
            return
        if event_type == CBEventType.LLM:
            count = self._call(payload, event_id)
            self.llm_token_counts.append(count)
            if self._verbose:
                self._print(f"LLM Prompt Token Usage: {count.prompt_token_count}")
                self._print(f"LLM Completion Token Usage: {count.completion_token_count}")
            self._check_budget()
        elif event_type == CBEventType.EMBEDDING:
            counts = [
                TokenCountingEvent(str(chunk), "", 0, self._count(chunk), event_id=event_id)
                for chunk in payload.get(EventPayload.CHUNKS) or ()
            ]
            self.embedding_token_counts.extend(counts)
            if self._verbose:
                self._print(f"Embedding Token Usage: {sum(count.total_token_count for count in counts)}")

    def _check_budget(self) -> None:
        if self.token_budget is not None and (used := self.total_llm_token_count) > self.token_budget:
            raise ValueError(f"Token budget exceeded! Limit: {self.token_budget}, Current: {used}")

    def _call(self, payload: Mapping[str, Any], event_id: str) -> TokenCountingEvent:
        if EventPayload.PROMPT in payload:
            prompt = str(payload[EventPayload.PROMPT])
            answer = payload.get(EventPayload.COMPLETION, payload.get(EventPayload.RESPONSE))
            in_text = partial(self._count, prompt)
        elif EventPayload.MESSAGES in payload:
            messages = payload[EventPayload.MESSAGES] or ()
            prompt = "\n".join(str(message) for message in messages)
            answer = payload.get(EventPayload.RESPONSE)
            in_text = partial(self._in_messages, messages)
        else:
            return TokenCountingEvent("", "", 0, 0, event_id=event_id)
        sent, back = (0, 0) if answer is None else get_tokens_from_response(answer)
        completion = "" if answer is None else str(answer)
        return TokenCountingEvent(
            prompt, completion, back or self._count(completion), sent or in_text(), event_id=event_id
        )

    def _count(self, text: object) -> int:
        return len(self.tokenizer(str(text)))

    def _in_messages(self, messages: Sequence[Any]) -> int:
        total = 0
        for message in messages:
            role = getattr(message, "role", None)
            called = (getattr(message, "additional_kwargs", None) or {}).get("tool_calls") or ()
            parts = [getattr(role, "value", role), getattr(message, "content", message), *called]
            total += PER_MESSAGE + sum(self._count(part) for part in parts if part)
        return total


def _default_tokenizer() -> Callable[[str], Sized]:
    real = sys.modules.get("llama_index.core.utils")
    if real is not None:  # a tokenizer that was set in the real package is meant for us, too
        tokenizer: Callable[[str], Sized] = real.get_tokenizer()
        return tokenizer
    try:
        tiktoken: Any = importlib.import_module("tiktoken")
    except ImportError:
        _logger.warning(
            "tiktoken is not installed: tokens are estimated as words and signs; give TokenCountingHandler a tokenizer"
        )
        return _PIECES.findall
    encode: Callable[[str], Sized] = tiktoken.encoding_for_model(MODEL).encode_ordinary
    return encode
