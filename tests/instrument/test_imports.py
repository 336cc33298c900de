"""Functions called when a module has been imported: whatever imports it, and nobody can tell that there is one."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from spanloom.instrument import imports
from spanloom.instrument.imports import when_imported


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to import from; what is waited for and loaded is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "_waiting", {})
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_it_is_called_after_the_last_line_whenever_the_module_is_run(folder: Path) -> None:
    """At the first import and at each reload, not when it is asked for, and with the module complete."""
    (folder / "waited.py").write_text("value = 1")
    seen: list[tuple[ModuleType, int]] = []
    when_imported("waited", lambda module: seen.append((module, module.value)))
    assert importlib.util.find_spec("waited") is not None
    assert seen == []
    module = importlib.import_module("waited")
    importlib.import_module("waited")
    assert seen == [(module, 1)]
    (folder / "waited.py").write_text("value = 2  # of another size")
    importlib.reload(module)
    assert seen == [(module, 1), (module, 2)]


def test_the_module_has_the_loader_that_it_would_have(folder: Path) -> None:
    """While it is run already, and with all that a loader can be asked for."""
    (folder / "waited.py").write_text("own = __loader__, __spec__.loader")
    when_imported("waited", lambda module: None)
    module = importlib.import_module("waited")
    assert {type(loader) for loader in module.own} == {importlib.machinery.SourceFileLoader}
    assert module.__loader__ is module.__spec__.loader is module.own[0] is module.own[1]
    spec = importlib.util.find_spec("waited")
    assert spec is not None
    assert spec.loader is module.__loader__  # of what is loaded, the one that it has


def test_one_that_is_not_loaded_yet_can_be_asked_as_well(folder: Path) -> None:
    """Who looks for the code of a module, as ``runpy`` does, gets it from the loader that stands before the other."""
    (folder / "waited.py").write_text("value = 1")
    when_imported("waited", lambda module: None)
    spec = importlib.util.find_spec("waited")
    assert spec is not None
    assert spec.loader.get_source("waited") == "value = 1"  # type: ignore[union-attr]  # it is there


def test_an_error_of_the_module_has_the_traceback_that_it_would_have(folder: Path) -> None:
    """No frame of ours, nor those of importlib that it takes out itself; and nothing is called."""
    (folder / "waited.py").write_text("value = 1 / 0")
    when_imported("waited", lambda module: pytest.fail("it is not there"))
    with pytest.raises(ZeroDivisionError) as raised:
        import waited  # noqa: F401 -- it is never used
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert [Path(frame.filename).name for frame in frames] == ["test_imports.py", "waited.py"]


def test_packages_zips_and_namespaces_are_found(folder: Path) -> None:
    """A package, its module, one in a zip; a namespace package has no code to be run, and is left alone."""
    (folder / "a_package").mkdir()
    (folder / "a_package" / "__init__.py").write_text("")
    (folder / "a_package" / "inner.py").write_text("")
    (folder / "a_space").mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("zipped.py", "")
    sys.path.append(str(folder / "a.zip"))
    seen: list[str] = []
    for name in ("a_package", "a_package.inner", "zipped", "a_space", "not_there"):
        when_imported(name, lambda module: seen.append(module.__name__))
    try:
        for name in ("a_package.inner", "zipped", "a_space"):
            importlib.import_module(name)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("not_there")
    finally:
        sys.path.remove(str(folder / "a.zip"))
    assert seen == ["a_package", "a_package.inner", "zipped"]


def test_it_gets_along_with_the_hooks_of_others(folder: Path) -> None:
    """The finder of wrapt asks all others, ours among them, whichever was first: both are told, once each."""
    (folder / "waited.py").write_text("")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from wrapt import register_post_import_hook\n"
        "from spanloom.instrument.imports import when_imported\n"
        "def ours(): when_imported('waited', lambda module: print('ours'))\n"
        "def theirs(): register_post_import_hook(lambda module: print('theirs'), 'waited')\n"
        "for ask in (ours, theirs) if sys.argv[2] == '1' else (theirs, ours): ask()\n"
        "import waited\nprint(type(waited.__loader__).__name__)"
    )
    for order in "12":
        done = subprocess.run(
            [sys.executable, "-c", program, folder, order], capture_output=True, encoding="utf-8", check=True
        )
        assert sorted(done.stdout.split()) == ["SourceFileLoader", "ours", "theirs"]
