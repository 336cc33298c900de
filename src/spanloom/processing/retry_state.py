"""Values that the attempts of one item share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["RetryState"]


@dataclass
class RetryState:
    """Values that a strategy keeps from one attempt of an item to the next; each item has one of its own.

    Attributes:
        data: The values by name.
    """

    data: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:  # as dict[str, Any].get
        """Return the value called `key`, or `default` if there is none."""
        return self.data.get(key, default)

    def set(self, key: str, value: object) -> None:
        """Keep `value` under the name `key`."""
        self.data[key] = value

    def delete(self, key: str, raise_if_missing: bool = False) -> None:
        """Forget the value called `key`.

        Raises:
            KeyError: there is none, and `raise_if_missing` is true.
        """
        if raise_if_missing:
            del self.data[key]
        else:
            self.data.pop(key, None)

    def clear(self) -> None:
        """Forget all values."""
        self.data.clear()

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def __repr__(self) -> str:
        return f"RetryState({self.data!r})"
