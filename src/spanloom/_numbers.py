"""Numbers that a user gives, checked where they are given."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["check_count", "check_number", "finite", "own_number"]


def check_count(value: object, what: str, *, least: int = 1, more: str = "") -> int:
    """Return `value` if it is an int of at least `least`; `more` is what else may be given, for the message.

    Raises:
        TypeError: it is not an int, or a truth value.
        ValueError: it is below that.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(
            f"{what} must be an int of at least {least}{more} (got {value!r}, {type(value).__name__})"
        )
    if value < least:
        raise ValueError(f"{what} must be at least {least}{more} (got {value})")
    return value


def check_number(value: object, what: str) -> float:
    """Return `value` as a number of Python's own; the comparisons that follow do not name it.

    Raises:
        TypeError: it is no number, or a truth value.
    """
    number = own_number(value)
    if number is None:
        raise TypeError(f"{what} must be a number (got {value!r}, {type(value).__name__})")
    return number


def own_number(value: Any) -> float | None:
    """Return the int or float that `value` is or stands for; ``None`` if it is no number, or a truth value.

    What is somebody else's, such as a ``Decimal``, cannot be added to a loop's time.
    """
    if type(value) is float or type(value) is int:
        return value
    if isinstance(value, bool):
        return None
    if hasattr(value, "__index__"):
        return int(value.__index__())
    return float(value) if hasattr(value, "__float__") else None


def finite(number: float) -> str:
    """Return what the message of a bound has to add where `number` is infinite."""
    return " and finite" if math.isinf(number) else ""
