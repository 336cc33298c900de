"""What users of dotevals ask pytest for: its mark, and the options of its plugin.

They are for evaluations of `spanloom.compat.dotevals`, if dotevals is installed and pytest has loaded its plugin. That
takes every test that bears its mark away from pytest, so the mark is there only while tests are selected.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import pytest

__all__ = ["asked", "mark", "unmark"]

MARK: Final = "dotevals"
FACADE: Final = "spanloom.compat.dotevals"


def mark(config: pytest.Config, items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Mark evaluations, so that ``-m dotevals`` and ``-m "not dotevals"`` mean them; return them.

    Args:
        config: Where the mark is made known.
        items: All tests.
    """
    marked = [item for item in items if _is_theirs(item)]
    if marked:
        config.addinivalue_line("markers", f"{MARK}: an evaluation")
    for item in marked:
        item.add_marker(MARK)
    return marked


def unmark(items: Sequence[pytest.Item]) -> None:
    """Take the mark off again.

    Args:
        items: What `mark` has returned.
    """
    for item in items:
        item.own_markers = [each for each in item.own_markers if each.name != MARK]


def asked(item: pytest.Item) -> dict[str, Any]:
    """Return the arguments by which an evaluation does as ``--experiment``, ``--storage`` and ``--samples`` say.

    Args:
        item: Any test.

    Raises:
        Exception: dotevals does not know such a storage.
    """
    if "dotevals.plugin" not in sys.modules or not _is_theirs(item):
        return {}
    options = {name: item.config.getoption(name, None) for name in ("experiment", "storage", "samples")}
    found: dict[str, Any] = {}
    if options["samples"] is not None:
        found["samples"] = options["samples"]
    if options["experiment"] is not None or options["storage"] is not None:
        sessions: Any = import_module("dotevals.sessions")
        found["session_manager"] = sessions.SessionManager(
            evaluation_name=_name_of(item), experiment_name=options["experiment"], storage=options["storage"]
        )
    return found


def _is_theirs(item: Any) -> bool:
    facade = sys.modules.get(FACADE)
    return facade is not None and isinstance(getattr(item, "obj", None), facade.Evaluation)


def _name_of(item: Any) -> str:
    """Return the name that dotevals gives it, so that its experiments go on: there each column is a parameter."""
    parameters = inspect.signature(item.obj.eval_fn).parameters
    ids = ["None" for column in item.obj.column_names if column in parameters]
    if getattr(item, "callspec", None) is not None:
        ids.append(item.callspec.id)
    return f"{item.originalname}[{'-'.join(ids)}]" if ids else str(item.originalname)
