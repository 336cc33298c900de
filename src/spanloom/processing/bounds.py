"""Checks of the numbers that a processor is given."""

from __future__ import annotations

import math

from spanloom._numbers import own_number

__all__ = ["check_amount", "check_whole"]


def check_amount(
    value: object,
    what: str,
    *,
    above: float | None = None,
    least: float = 0.0,
    finite: bool = True,
    more: str = "",
) -> float:
    """Return `value` as a Python number, if it is in range. A ``Decimal`` or a NumPy number is converted.

    Args:
        value: What was given.
        what: Its name, for the message.
        above: Exclusive lower bound; replaces `least`.
        least: Inclusive lower bound.
        finite: Whether infinity is refused.
        more: Text that the message adds to the bound: a unit, what else may be given.

    Raises:
        TypeError: it is not a number, or a bool.
        ValueError: it is out of range, or NaN.
    """
    rule = f"{f'at least {least:g}' if above is None else f'above {above:g}'}{more}"
    number = own_number(value)
    if number is None:
        raise TypeError(f"{what} must be a number {rule} (got {value!r}, {type(value).__name__})")
    if not (number >= least if above is None else number > above) or (finite and math.isinf(number)):
        raise ValueError(
            f"{what} must be {rule}{', and finite' if math.isinf(number) else ''} (got {value!r})"
        )
    return number


def check_whole(value: object, what: str) -> int:
    """Return `value` as an int, if it is a whole number of at least 0.

    Args:
        value: What was given.
        what: Its name, for the message.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is below 0.
    """
    number = own_number(value)
    if not isinstance(number, int):
        raise TypeError(
            f"{what} must be a whole number of at least 0 (got {value!r}, {type(value).__name__})"
        )
    if number < 0:
        raise ValueError(f"{what} must be at least 0 (got {value!r})")
    return number
