"""The public surface: what `__all__` says is what there is, documented, and cheap to import."""

from __future__ import annotations
import __future__

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import spanloom

ROOT = Path(__file__).resolve().parent.parent
MODULES = ["spanloom"] + [
    info.name
    for info in pkgutil.walk_packages(spanloom.__path__, "spanloom.")
    if not any(part.startswith("_") for part in info.name.split("."))
    and info.name != "spanloom.autopatch"  # to import it is to use it: tests/instrument/test_autopatch.py
]


# A package offers what it imports. Its plain modules are named as API only where users import from them.
PACKAGES = [name for name in MODULES if hasattr(importlib.import_module(name), "__path__")]
LOADED_LATE = {name: vars(importlib.import_module(name)).get("_LATE", {}) for name in PACKAGES}
"""What a package loads when it is asked for, and not before, by package."""
API_MODULES = [
    *(name for name in MODULES if name.startswith("spanloom.handlers.") and name not in PACKAGES),
    "spanloom.exceptions",
]


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_exactly_what_a_package_offers(name: str) -> None:
    """`__all__` of a package is equal to its public names, submodules aside."""
    package = importlib.import_module(name)
    ignored = (types.ModuleType, type(__future__.annotations))
    offered = [
        key for key, value in vars(package).items() if key[0] != "_" and not isinstance(value, ignored)
    ]
    assert sorted(package.__all__) == sorted({*offered, *LOADED_LATE[name]})


@pytest.mark.parametrize("name", [name for name, late in LOADED_LATE.items() if late])
def test_what_is_loaded_late_is_where_type_checkers_find_it(name: str) -> None:
    """What a package loads when it is asked for, it imports from the same place for who only reads the code."""
    package = importlib.import_module(name)
    tree = ast.parse(Path(package.__file__ or "").read_text(encoding="utf-8"))
    read = [node for branch in tree.body if isinstance(branch, ast.If) for node in branch.body]
    found = {
        each.asname: node.module for node in read if isinstance(node, ast.ImportFrom) for each in node.names
    }
    assert found == LOADED_LATE[name]
    for late, module in LOADED_LATE[name].items():
        assert getattr(package, late) is getattr(importlib.import_module(module), late)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nobody'"):
        _ = package.nobody


def test_the_names_of_the_root_are_listed_also_before_they_are_loaded() -> None:
    """Who completes names at a prompt finds all of them."""
    program = (
        "import spanloom; print(sorted({*spanloom.__all__} - {*dir(spanloom)}), 'run_jobs' in vars(spanloom))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"


@pytest.mark.parametrize("name", API_MODULES)
def test_all_is_exactly_what_a_public_module_defines(name: str) -> None:
    """`__all__` of a module that users import from is equal to the public classes and functions it defines."""
    module = importlib.import_module(name)
    defined = [
        key
        for key, value in vars(module).items()
        if key[0] != "_" and isinstance(value, (type, types.FunctionType)) and value.__module__ == name
    ]
    assert sorted(module.__all__) == sorted(defined)


@pytest.mark.parametrize("name", MODULES)
def test_all_names_what_is_there(name: str) -> None:
    """`__all__` is there, names nothing twice, and nothing that is missing."""
    module = importlib.import_module(name)
    assert len(module.__all__) == len(set(module.__all__))
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring(name: str) -> None:
    """Every module, public class and public function says what it is for."""
    module = importlib.import_module(name)
    assert module.__doc__
    for public in module.__all__:
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert inspect.getdoc(value), f"{name}.{public}"


def test_importing_spanloom_loads_nothing_optional() -> None:
    """The root loads no handler, no optional dependency, starts no thread and opens no file of its own."""
    program = (
        "import sys, threading, json; import spanloom;"
        "print(json.dumps([sorted({name.split('.')[0] for name in sys.modules}), threading.active_count(),"
        "sorted(name for name in sys.modules if name.startswith('spanloom.handlers'))]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded, threads, handlers = json.loads(done.stdout)
    assert not {"sqlite3", "opentelemetry", "tqdm", "structlog", "uvloop", "httpx", "tenacity"} & set(loaded)
    assert threads == 1
    assert handlers == []


def test_the_parts_of_a_handler_are_its_own() -> None:
    """`_debug_table.py` is imported by `debug.py` and its other parts, `otel/_build.py` by `otel/`; by nobody else."""
    importing = re.compile(
        r"^\s*(?:from|import) spanloom\.handlers\.(?:_([a-z]+)_\w+|([a-z]+)\._\w+)", re.MULTILINE
    )
    found = [
        (path, beside or inside)
        for path in (ROOT / "src").rglob("*.py")
        for beside, inside in importing.findall(path.read_text(encoding="utf-8"))
    ]
    assert {owner for _, owner in found} >= {"debug", "otel", "progress"}
    strangers = [
        f"{path.name} imports a part of {owner}"
        for path, owner in found
        if path.stem != owner and not path.stem.startswith(f"_{owner}_") and path.parent.name != owner
    ]
    assert strangers == []


WAIVER = re.compile(r"#\s*(noqa|type: ignore|pyright: ignore|pragma: no (?:cover|branch))\b(?P<rest>.*)$")


TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_every_test_says_what_it_shows(path: Path) -> None:
    """Each test has a docstring of one sentence that states the behaviour."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    silent = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, functions) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def python_files() -> list[Path]:
    folders = ("src", "tests", "examples", "bench", "tools")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_every_waiver_gives_its_reason() -> None:
    """A silenced rule is named, and followed by ` -- ` (or a second `# `) and the reason."""
    bare = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in python_files()
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (match := WAIVER.search(line)) and not re.search(r" (--|#) \S", match["rest"])
    ]
    assert bare == []
