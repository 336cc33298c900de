r"""The page around the data: one HTML file that asks for nothing and runs nothing but its own script.

The Content-Security-Policy names the page's one script and one style sheet by their SHA-256 and allows nothing else:
no request, no inline handler, no `eval`, no other script however it got in. Trusted Types are required and there is no
policy that makes any, so even the page's own script cannot turn text into markup. The escaping below does not rely on
that: data is JSON in an element that is not run, with every character that could end that element written as ``\\u``,
and the script sets text by `textContent` and on the canvas only.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Final, TextIO

import msgspec

__all__ = ["write_page"]

_POLICY: Final = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
# Of these only "<" matters inside of a script element; the others are for whoever cuts the JSON out and puts it
# elsewhere. U+2028 and U+2029 end a line of JavaScript.
_DANGEROUS: Final = str.maketrans(
    {char: f"\\u{ord(char):04x}" for char in ("<", ">", "&", "'", "\u2028", "\u2029")}
)


_SCRIPTS: Final = (
    "data.js",
    "model.js",
    "layout.js",
    "graph.js",
    "picture.js",
    "text.js",
    "pointer.js",
    "search.js",
    "controls.js",
    "page.js",
)
"""The page's script, in the order in which its parts need one another."""


def write_page(file: TextIO, description: object, columns: str) -> None:
    """Write the page.

    Args:
        file: Open for writing text; its encoding should be UTF-8.
        description: What the page shows, as something that JSON can hold. May contain any text.
        columns: Base64 of what the description describes.
    """
    style, script = _source("page.css"), "".join(map(_source, _SCRIPTS))
    parts = {
        "policy": _POLICY.format(script=_hash(script), style=_hash(style)),
        "style": style,
        "script": script,
        "description": _json(description),
        "columns": columns,
    }
    # The template is split at its marks, not searched and replaced: a mark in the data stays text.
    pieces = enumerate(_source("page.html").split("%%"))
    file.writelines(parts[piece] if at % 2 else piece for at, piece in pieces)


def _source(name: str) -> str:
    # HTML parsers read every end of line as "\n", and it is the parsed text that is hashed.
    text = resources.files("spanloom.viewer").joinpath("_page", name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode("utf-8").translate(_DANGEROUS)
