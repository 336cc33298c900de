"""The table of features says nothing that no test shows."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def tool() -> ModuleType:
    """Return the tool that makes the table."""
    spec = importlib.util.spec_from_file_location("features", ROOT / "tools" / "features.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FEATURES = [feature for features in tool().SECTIONS.values() for feature in features]
NAMED = sorted({test for feature in FEATURES for test in feature.tests})


@pytest.mark.parametrize("named", NAMED)
def test_every_named_test_exists(named: str) -> None:
    """What the table refers to is there: the file, and in it the test, or any test."""
    file, _, name = named.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tests = [
        node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")
    ]
    assert name in tests or (name == "*" and tests)


def test_every_feature_is_shown_and_said_of_systems_that_there_are() -> None:
    """Each row names at least one test of ours, and a system that fails at something promises it."""
    letters = set(tool().SYSTEMS)
    for feature in FEATURES:
        assert feature.tests[0].partition("::")[0] != "concurrency/test_ancestors.py", feature.what
        assert set(feature.broken) <= set(feature.has) <= letters, feature.what


def test_the_page_is_what_the_tool_makes() -> None:
    """Run ``python tools/features.py`` after a change of the table."""
    made = tool()
    assert made.PAGE.read_text(encoding="utf-8") == made.page()
