"""Handlers by name are resolved by the composition root."""

from __future__ import annotations

import pytest

from spanloom.callbacks import registry


def test_without_a_root_there_are_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """This layer knows no handler, and says what to import."""
    monkeypatch.setattr(registry, "_loader", None)
    with pytest.raises(LookupError, match="no handler 'debug': import spanloom, not its parts"):
        registry.load_handler("debug")


def test_the_root_says_what_a_name_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader that was set is asked."""
    monkeypatch.setattr(registry, "_loader", None)
    registry.set_handler_loader(lambda name: lambda: f"handler {name}")
    assert registry.load_handler("debug")() == "handler debug"
