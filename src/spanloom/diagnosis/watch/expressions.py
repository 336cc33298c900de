"""The object that a blocked line acquires: ``self._lock`` of ``with self._lock:``, looked up without running code.

Names are looked up in the frame's variables, attributes in instance dictionaries and slots, items in plain dicts and
lists. A property, a call or a container subclass is not followed, as that would run the program's code.
"""

from __future__ import annotations

import ast
import dis
import inspect
import linecache
from functools import lru_cache
from types import CodeType, FrameType, MemberDescriptorType
from typing import Final

from spanloom.concurrency.names import bare_name
from spanloom.diagnosis.fields import is_a
from spanloom.diagnosis.variables import variables_of

__all__ = ["acquired", "attribute", "named", "text_at"]

_MISSING: Final = object()
_CALLS: Final = frozenset({"CALL", "PRECALL"})


def acquired(frame: FrameType) -> tuple[str, object] | None:
    """Return the lock that a running frame is about to acquire, as ``(source text, object)``; ``None`` if none.

    The object is ``None`` if it cannot be found without running code.
    """
    text = text_at(frame.f_code, frame.f_lasti)
    if text is None:
        return None
    return named(text, frame.f_code), _value(text, frame)


@lru_cache(maxsize=512)
def text_at(code: CodeType, instruction: int) -> str | None:
    """Return the source text of the lock that the instruction at that offset acquires; ``None`` if it acquires none."""
    before: dis.Instruction | None = None
    for one in dis.get_instructions(code):
        if one.offset == instruction:
            break
        before = one
    else:
        return None
    # Up to 3.12, the position of the entering instruction is the whole block; that of the one before, the expression.
    at = before.positions if before is not None and one.opname == "BEFORE_WITH" else one.positions
    source = None if at is None else _source(code.co_filename, at)
    if source is None:
        return None
    try:
        tree = ast.parse(source, mode="eval").body
    except SyntaxError:
        return None
    if one.opname == "BEFORE_WITH":
        return source
    if isinstance(tree, ast.Call):
        function = tree.func
        if isinstance(function, ast.Attribute) and function.attr in {"acquire", "__enter__"}:
            return ast.unparse(function.value)
        if isinstance(function, ast.Attribute) and function.attr == "enter_context" and tree.args:
            return ast.unparse(tree.args[0])
        return None
    return source if one.opname in _CALLS else None  # from 3.14 on a block is entered by a call


def _source(file: str, at: dis.Positions) -> str | None:
    if at.lineno is None or at.end_lineno is None or at.col_offset is None or at.end_col_offset is None:
        return None
    lines = [linecache.getline(file, number).encode() for number in range(at.lineno, at.end_lineno + 1)]
    if not lines or not all(lines):
        return None
    lines[-1] = lines[-1][: at.end_col_offset]
    lines[0] = lines[0][at.col_offset :]
    return b"".join(lines).decode(errors="replace").strip()


def _value(text: str, frame: FrameType) -> object:
    tree = ast.parse(text, mode="eval").body
    found = _evaluate(tree, variables_of(frame), frame)
    return None if found is _MISSING else found


def _evaluate(tree: ast.AST, names: dict[str, object], frame: FrameType) -> object:
    if isinstance(tree, ast.Name):
        return names[tree.id] if tree.id in names else frame.f_globals.get(tree.id, _MISSING)
    if isinstance(tree, ast.Attribute):
        owner = _evaluate(tree.value, names, frame)
        return _MISSING if owner is _MISSING else attribute(owner, tree.attr)
    if isinstance(tree, ast.Subscript):
        owner = _evaluate(tree.value, names, frame)
        key = (
            tree.slice.value if isinstance(tree.slice, ast.Constant) else _evaluate(tree.slice, names, frame)
        )
        if is_a(owner, dict) and type(key) in {str, int, bytes}:
            return dict.get(owner, key, _MISSING)
        if type(owner) in {list, tuple} and type(key) is int and -len(owner) <= key < len(owner):  # type: ignore[arg-type] # the same
            return owner[key]  # type: ignore[index] # narrowed by its exact type
    return _MISSING


def named(text: str, code: CodeType) -> str:
    """Return `text` with the class in place of ``self``: ``Cache._lock`` for ``self._lock`` in a method of it."""
    first, _, rest = text.partition(".")
    owner = bare_name(code.co_qualname).rpartition(".")[0]
    is_self = bool(code.co_argcount) and first == code.co_varnames[0] and first in {"self", "cls"}
    return f"{owner}.{rest}" if is_self and rest and owner else text


def attribute(owner: object, name: str) -> object:
    """Return an attribute without running code: from the instance, or from its class if it is no descriptor."""
    found = inspect.getattr_static(owner, name, _MISSING)
    if isinstance(found, MemberDescriptorType):
        try:
            return found.__get__(owner)
        except AttributeError:
            return _MISSING
    if found is not _MISSING and hasattr(type(found), "__get__"):
        return _MISSING
    return found
