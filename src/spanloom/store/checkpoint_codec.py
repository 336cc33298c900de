"""How a result becomes an SQLite value, and back."""

from __future__ import annotations

from collections import deque
from dataclasses import fields, is_dataclass
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from spanloom.exceptions import CheckpointCodecError

__all__ = ["Codec", "JsonCodec", "stored_form"]

MAX_SHOWN: Final = 200
"""Characters of a codec's error that a message shows."""
_LEAVES: Final = frozenset({str, int, float, bool, type(None), bytes})


@runtime_checkable
class Codec(Protocol):
    """Writes results and reads them back. Called on the checkpoint's own thread, one call at a time.

    The file notes the codec's attribute ``name``, or else the name of its class, and refuses to be read by another.
    """

    def encode(self, value: Any) -> str | bytes:
        """Return what to store. Raise anything if `value` cannot be stored."""

    def decode(self, data: Any) -> Any:
        """Return the result; `data` is exactly the text or bytes that `encode` returned."""


class JsonCodec:
    """Results as JSON text, refused unless they would come back equal and of the same types, at every depth.

    JSON would turn a tuple into a list, an int key into a string, NaN into ``None``, and a ``StrEnum`` or a
    ``defaultdict`` into its plain base type. All of these are errors when they are stored, not surprises after a
    restart.

    Args:
        type: Type to read results as: anything that `msgspec` can decode, such as a dataclass, a ``Struct``,
            ``tuple[int, str]`` or ``dict[int, str]``; ``None`` for plain JSON values.
    """

    name: Final = "json"

    def __init__(self, type: Any = None) -> None:
        self._encoder = msgspec.json.Encoder()
        self._decoder: Any = msgspec.json.Decoder() if type is None else msgspec.json.Decoder(type)
        self._type = type

    def encode(self, value: Any) -> str:
        """Return `value` as JSON.

        Raises:
            CheckpointCodecError: it has no JSON form, or would come back different.
        """
        try:
            data = self._encoder.encode(value)
            again = self._decoder.decode(data)
            same = _same(value, again)
        except Exception as error:  # an `enc_hook`, `__post_init__` or the like is the user's code
            raise CheckpointCodecError(f"it is no JSON: {_shown(error)}; {self._advice}") from error
        if not same:
            raise CheckpointCodecError(
                f"it would come back different: a {type(value).__name__} as a {type(again).__name__}, or something "
                f"inside of it; {self._advice}"
            )
        return data.decode()

    def decode(self, data: Any) -> Any:
        return self._decoder.decode(data)

    def __reduce__(self) -> tuple[object, ...]:
        return JsonCodec, (self._type,)  # msgspec's own cannot be pickled

    @property
    def _advice(self) -> str:
        if self._type is not None:
            return "return what the checkpoint's type= says, or give another codec="
        return "return plain JSON values, or give Checkpoint(..., type=) or codec="


def stored_form(codec: Codec, value: object) -> str | bytes:
    """Return what `codec` makes of `value`, after reading it back once.

    Raises:
        CheckpointCodecError: it cannot be stored; its ``value`` is `value`.
    """
    try:
        data = codec.encode(value)
        if not isinstance(data, (str, bytes)):
            raise CheckpointCodecError(
                f"{type(codec).__name__}.encode returned {type(data).__name__}, not str or bytes"
            )
        if type(codec) is not JsonCodec:  # that one has read it back already, and compared
            codec.decode(data)
        if isinstance(data, str):
            data.encode()  # SQLite's text is UTF-8
    except Exception as error:  # noqa: BLE001 -- a codec is the user's code
        if isinstance(error, CheckpointCodecError):
            failure, cause = CheckpointCodecError(f"the result cannot be stored: {error}"), error.__cause__
        else:
            said = f"{type(codec).__name__} raised {_shown(error)}"
            failure, cause = CheckpointCodecError(f"the result cannot be stored: {said}"), error
        failure.value = value
        raise failure from cause
    return data


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal and of the same types, at every depth."""
    kind = type(one)
    if type(other) is not kind or one != other:
        return False
    return kind in _LEAVES or _same_inside(one, other)


def _same_inside(one: Any, other: Any) -> bool:
    """Do what `_same` does inside two values that are equal and of one type."""
    if isinstance(one, dict):
        return _same_types(list(one), list(other)) and _same_types(list(one.values()), list(other.values()))
    if isinstance(one, (list, tuple, deque)):
        return _same_types(one, other)
    if isinstance(one, (set, frozenset)):
        return {(type(each), each) for each in one} == {(type(each), each) for each in other}
    names: Any = ()
    if isinstance(one, msgspec.Struct):
        names = one.__struct_fields__
    elif is_dataclass(one):
        names = [field.name for field in fields(one)]
    elif hasattr(one, "__attrs_attrs__"):
        names = [field.name for field in one.__attrs_attrs__]
    return all(_same_in_equal(getattr(one, name), getattr(other, name)) for name in names)


def _same_types(one: Any, other: Any) -> bool:
    """Do it for the elements of two equal collections, fast: there may be a million numbers."""
    kinds = list(map(type, one))
    if kinds != list(map(type, other)):
        return False
    return _LEAVES.issuperset(kinds) or all(map(_same_in_equal, one, other))


def _same_in_equal(one: Any, other: Any) -> bool:
    kind = type(one)
    return type(other) is kind and (kind in _LEAVES or _same_inside(one, other))


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_SHOWN]
