"""Functions that fail some times before they do not."""

from __future__ import annotations


class Flaky:
    """Raises `ConnectionError` until its call number `good`; returns the number of the call."""

    def __init__(self, good: int) -> None:
        self.good = good
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls < self.good:
            raise ConnectionError(f"call {self.calls}")
        return self.calls


def retried(name: str, failures: int, status: str = "ok", last: str = "ok") -> str:
    """Return the tree of a call that failed `failures` times before its last attempt."""
    lines = [f"retry {name} {status}"]
    for number in range(1, failures + 1):
        lines += [f"  attempt {name} {number}. error ConnectionError", f"  backoff {name} {number}. ok"]
    return "\n".join([*lines, f"  attempt {name} {failures + 1}. {last}"])
