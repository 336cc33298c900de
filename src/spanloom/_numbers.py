"""Numbers that a user gives, checked where they are given."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["check_count", "check_number", "finite", "own_number"]


def check_count(value: object, what: str, *, least: int = 1, more: str = "") -> int:
    """Return `value` if it is an int of at least `least`; `more` tells, in the message, what else is allowed.

    Raises:
        TypeError: it is not an int, or is a bool.
        ValueError: it is below `least`.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(
            f"{what} must be an int of at least {least}{more} (got {value!r}, {type(value).__name__})"
        )
    if value < least:
        raise ValueError(f"{what} must be at least {least}{more} (got {value})")
    return value


def check_number(value: object, what: str) -> float:
    """Return `value` as an int or float.

    Raises:
        TypeError: it is not a number, or is a bool. The message names `what`; that of a later comparison would not.
    """
    number = own_number(value)
    if number is None:
        raise TypeError(f"{what} must be a number (got {value!r}, {type(value).__name__})")
    return number


def own_number(value: Any) -> float | None:
    """Return `value` as an int or float; ``None`` if it is not a number, or is a bool.

    Other number types are converted: a ``Decimal``, for example, cannot be added to a loop's time.
    """
    if type(value) is float or type(value) is int:
        return value
    if isinstance(value, bool):
        return None
    if hasattr(value, "__index__"):
        return int(value.__index__())
    return float(value) if hasattr(value, "__float__") else None


def finite(number: float) -> str:
    """Return what the error message of a bound has to add if `number` is infinite, else nothing."""
    return " and finite" if math.isinf(number) else ""
