"""How a result becomes a value of SQLite's, and back."""

from __future__ import annotations

from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from spanloom.exceptions import CheckpointCodecError

__all__ = ["Codec", "JsonCodec", "stored_form"]

MAX_SHOWN: Final = 200
"""Characters of what a codec says is wrong."""


@runtime_checkable
class Codec(Protocol):
    """Writes results and reads them back. Called on the checkpoint's own thread, one call at a time.

    An attribute ``name``, if there is one, is what the file says its results were written by; else the class's name.
    """

    def encode(self, value: Any) -> str | bytes:
        """Return what to store. Raise anything if `value` cannot be stored."""

    def decode(self, data: Any) -> Any:
        """Return the result that `data`, the very text or bytes that `encode` returned, stands for."""


class JsonCodec:
    """Results as JSON text, refused unless they would come back equal and of the same type.

    So a tuple, which JSON would turn into a list, an integer as a key, which would become a string, and a NaN,
    which would become ``None``, are errors when they are stored, and no surprise after a restart.

    Args:
        type: What to read results as: anything that `msgspec` can decode, such as a dataclass, a ``Struct``,
            ``tuple[int, str]`` or ``dict[int, str]``; ``None`` for what JSON itself knows.
    """

    name: Final = "json"

    def __init__(self, type: Any = None) -> None:
        self._encoder = msgspec.json.Encoder()
        self._decoder: Any = msgspec.json.Decoder() if type is None else msgspec.json.Decoder(type)
        self._typed = type is not None

    def encode(self, value: Any) -> str:
        """Return `value` as JSON.

        Raises:
            CheckpointCodecError: it cannot be, or it would not come back as it is.
        """
        try:
            data = self._encoder.encode(value)
            again = self._decoder.decode(data)
        except Exception as error:  # an `enc_hook`, `__post_init__` or the like is the user's code
            raise CheckpointCodecError(f"it is no JSON: {_shown(error)}; {self._advice}") from error
        if type(again) is not type(value) or again != value:
            raise CheckpointCodecError(
                f"it would come back different: a {type(value).__name__} as a {type(again).__name__}, or something "
                f"inside of it; {self._advice}"
            )
        return data.decode()

    def decode(self, data: Any) -> Any:
        return self._decoder.decode(data)

    @property
    def _advice(self) -> str:
        if self._typed:
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
        if type(codec) is not JsonCodec:  # which has done so, and compared
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


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_SHOWN]
