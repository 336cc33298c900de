"""JSON that a terminal shows and does not obey, whatever somebody has put into a record."""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

__all__ = ["ascii_json", "encode_json"]

_encode: Final = msgspec.json.Encoder().encode
_STEERING: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves the cursor of a terminal or turns the direction of text around, and may stand in JSON as it is."""
_BEYOND_ASCII: Final = re.compile("[^\x00-\x7f]")


def encode_json(value: object) -> bytes:
    """Return `value` as JSON, for a program the same as ever; characters that would steer a terminal are escaped."""
    encoded = _encode(value)
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return _STEERING.sub(_escaped, encoded.decode()).encode()


def ascii_json(text: str) -> str:
    """Return a JSON document in ASCII, for a program the same as ever."""
    return _BEYOND_ASCII.sub(lambda char: json.dumps(char[0])[1:-1], text)


def _escaped(char: re.Match[str]) -> str:
    return f"\\u{ord(char[0]):04x}"
