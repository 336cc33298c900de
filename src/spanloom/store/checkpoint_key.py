"""The key that identifies an item, and its digest, under which the file has the result."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any, Final

import msgspec

__all__ = ["Keys", "digest_of"]

KEY_BYTES: Final = 16
"""Bytes of a digest: among 10**12 keys, two collide with a probability of 10**-15."""
MAX_KEY_TEXT: Final = 200
"""Characters of a key that are stored readably."""

_encoder = msgspec.json.Encoder(order="deterministic")
_PLAIN: Final = (str, int, float, complex, bool, bytes, type(None), type(...))


def digest_of(value: object) -> bytes:
    """Return the digest of a key; it depends on the key's JSON form only.

    Raises:
        TypeError: it has no JSON form.
    """
    try:
        data = _encoder.encode(value)
        if b"null" in data:
            _check_finite(msgspec.to_builtins(value))
    except Exception as error:  # noqa: BLE001 -- msgspec's own, and those of attributes that it looks at
        raise TypeError(f"{type(value).__name__} has no JSON form: {error}") from None
    return blake2b(data, digest_size=KEY_BYTES).digest()


def _check_finite(value: object) -> None:
    """Refuse NaN and infinities: msgspec writes them all as null, so they would be one key."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"JSON does not know {value!r}")
    elif isinstance(value, dict):
        for key, below in value.items():
            _check_finite(key)
            _check_finite(below)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for below in value:
            _check_finite(below)


class Keys:
    """The keys of one batch's items, in order.

    Args:
        key: A function of an item, an iterable of keys in the order of the items, or ``None``.
        total: How many items there are; ``None`` if unknown.

    Raises:
        ValueError: there are more or fewer keys than items.
    """

    def __init__(self, key: Callable[[Any], object] | Iterable[object] | None, total: int | None) -> None:
        self._function = key if callable(key) else None
        self._given: Iterator[object] | None = None
        if key is not None and self._function is None:
            given: Any = key
            count = len(given) if hasattr(given, "__len__") else total
            if total is not None and count != total:
                raise ValueError(
                    f"the checkpoint has {count} keys for {total} items; give one key for each item"
                )
            self._given = iter(given)
        # By the first byte: a single table of a million keys holds the loop for 0.1 s when it grows. Dicts, not sets:
        # the garbage collector skips a dict that holds no containers, but traverses every set.
        self._seen: tuple[dict[bytes, None], ...] = tuple({} for _ in range(256))
        self._count = 0

    def next(self, item: object) -> tuple[bytes, str | None]:
        """Return the digest and the readable text of the key of the next item.

        Raises:
            ValueError: an earlier item has the same key, or the keys have run out.
            TypeError: the key, or without one the item, has no JSON form.
        """
        index = self._count
        self._count += 1
        if self._function is not None:
            value = self._function(item)
        elif self._given is not None:
            value = next(self._given, self)
            if value is self:
                raise ValueError(f"the checkpoint's keys ran out at item {index}; give one key for each item")
        else:
            value = _default(item)
        try:
            digest = digest_of(value)
        except TypeError as error:
            raise TypeError(self._refusal(index, error)) from None
        seen = self._seen[digest[0]]
        if digest in seen:
            raise ValueError(
                f"item {index} has the key of an earlier item: {value!r:.200}; each item needs a key of its own, "
                f"or what one has returned would be taken for the result of the other"
            )
        seen[digest] = None
        named = self._function is not None or self._given is not None
        text = value if isinstance(value, str) else repr(value) if named and type(value) in _PLAIN else None
        return digest, text[:MAX_KEY_TEXT] if named and text is not None else None

    def _refusal(self, index: int, error: TypeError) -> str:
        if self._function is None and self._given is None:
            return (
                f"item {index} cannot be told from others after a restart: {error}; give Checkpoint(..., key=) a "
                f"function of the item that returns a string, or one key for each item, as in key=urls"
            )
        return f"the key of item {index} must be a string or another value that JSON knows: {error}"


def _default(item: Any) -> object:
    """Return the default key of an item: the item itself, or the arguments of a partial."""
    if isinstance(item, functools.partial):
        inner = _default(item.func) if isinstance(item.func, functools.partial) else None
        return [inner, item.args, item.keywords] if inner is not None else [item.args, item.keywords]
    return item
