"""Numbers that are given to a processor, checked where they are given."""

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
    """Return `value` as a number of Python's own in range, whoever's it is: a ``Decimal`` or one of NumPy's is as good.

    Args:
        value: What was given.
        what: What it is called.
        above: What it must be above, if that is not `least`, which it must be at least.
        least: See there.
        finite: Whether infinity is refused.
        more: What the message has after the bound: a unit, what else may be given.

    Raises:
        TypeError: it is no number, or a truth value.
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
        what: What it is called.

    Raises:
        TypeError: it is no whole number.
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
