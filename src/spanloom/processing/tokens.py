"""Token counts: of results, and of failed calls that used tokens all the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, TypedDict, cast

__all__ = ["COUNTED", "TokenExtractor", "TokenUsage", "no_tokens", "readable_usage"]

_log = logging.getLogger(__name__)

COUNTED: Final = ("input_tokens", "output_tokens", "total_tokens", "cached_input_tokens")
"""The keys of a usage."""
_NAMES: Final = {
    "input_tokens": ("request_tokens", "input_tokens", "prompt_tokens"),
    "output_tokens": ("response_tokens", "output_tokens", "completion_tokens"),
    "total_tokens": ("total_tokens",),
    "cached_input_tokens": ("cached_input_tokens", "cache_read_tokens"),
}
"""Attributes of clients' usage objects, by key; the first that exists counts."""


class TokenUsage(TypedDict, total=False):
    """Tokens of one call, or of several; what a provider does not report is left out.

    Attributes:
        input_tokens: Tokens of the prompt, those from a cache included.
        output_tokens: Tokens of the answer.
        total_tokens: What the provider says is the sum.
        cached_input_tokens: Those of `input_tokens` that came from a cache.
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_input_tokens: int


def no_tokens() -> TokenUsage:
    """Return the usage of an item without any call."""
    return {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


def readable_usage(usage: Any, whose: str) -> TokenUsage:  # whatever somebody's code has returned
    """Return `usage` as a dict with ints under the keys of `COUNTED`; a value that is no number counts as 0.

    Args:
        usage: What was returned as the tokens of a call: a mapping, or a client's object, which is read by its
            attributes; ``None`` gives an empty dict.
        whose: Who returned it, for the log.
    """
    if usage is None:
        return {}
    if isinstance(usage, Mapping):
        return cast(
            "TokenUsage", {key: _number(value) if key in COUNTED else value for key, value in usage.items()}
        )
    try:
        found = _counts(_called(usage))
    except Exception:  # noqa: BLE001 -- the call itself went well
        found = {}
    if not any(found.values()):
        _log.warning(
            "%s has told its tokens as a %s, which has none of the names that we know (%s): counted as none",
            whose,
            type(usage).__name__,
            ", ".join(COUNTED),
        )
    return cast("TokenUsage", found)


class TokenExtractor:
    """Finds the tokens that a failed call used, wherever its exception keeps them."""

    def extract_from_exception(self, exception: BaseException) -> dict[str, int]:
        """Return the tokens of the call that raised `exception`; zeros if it has none.

        Looks at the usage of ``__cause__.result`` (pydantic-ai), at ``exception.usage``, a value or a function
        (clients in the style of openai), and at ``_failed_token_usage`` in the exception's ``__dict__``, where
        a strategy may leave them.

        Raises:
            asyncio.CancelledError: one of these is a function that raises it.
        """
        try:
            for usage in _candidates(exception):
                if usage is not None:
                    return _counts(usage)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 -- somebody else's objects, of which we only hope for numbers
            _log.debug(
                "cannot read the token usage of %s (%s): counted as none",
                type(exception).__name__,
                type(error).__name__,
            )
        return dict.fromkeys(COUNTED, 0)

    @staticmethod
    def accumulate(cumulative: dict[str, int], attempt_tokens: Mapping[str, int]) -> None:
        """Add the tokens of one attempt to `cumulative`, in place; what is missing counts as 0."""
        for key in COUNTED:
            cumulative[key] = cumulative.get(key, 0) + attempt_tokens.get(key, 0)


def _candidates(exception: BaseException) -> Any:  # an iterator over whatever clients keep there
    result = getattr(exception.__cause__, "result", None)
    yield _called(getattr(result, "usage", None)) if callable(getattr(result, "usage", None)) else None
    yield _called(getattr(exception, "usage", None))
    kept = getattr(exception, "__dict__", {}).get("_failed_token_usage")
    yield kept if isinstance(kept, dict) else None


def _called(usage: Any) -> Any:  # of a type that only its client knows
    return usage() if callable(usage) else usage


def _counts(usage: Any) -> dict[str, int]:  # see _called
    if isinstance(usage, Mapping):
        return {key: _number(usage.get(key, 0)) for key in COUNTED} | {
            key: value for key, value in usage.items() if key not in COUNTED and isinstance(value, int)
        }
    return {
        key: _number(next((getattr(usage, name) for name in names if hasattr(usage, name)), 0))
        for key, names in _NAMES.items()
    }


def _number(value: Any) -> int:  # see _called
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0
