"""spanloom's own contenders. Without spanloom installed the suites run the peers alone."""

from importlib.util import find_spec


def installed() -> bool:
    """Whether spanloom's runners can be measured here."""
    return find_spec("spanloom") is not None and find_spec("spanloom.concurrency") is not None
