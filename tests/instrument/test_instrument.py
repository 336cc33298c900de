"""The frame: targets are patched when they are imported, undone, and never break the program."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import spanloom
from spanloom import CallbackManager
from spanloom.instrument import harmless, targets
from spanloom.instrument.patches import Patches
from spanloom.instrument.targets import Target
from tests.instrument.conftest import tree
from tests.instrument.recorded import recorded

frame = sys.modules["spanloom.instrument.instrument"]

LIBRARY = """
calls = 0

def compute(n):
    return n * 2

async def fetch(n):
    return n * 3

class Client:
    def get(self, n):
        return n

class Special(Client):
    pass
"""

TARGET = """
from tests.instrument.recorded import recorded

VERSIONS = {"a-library": "1.0"}

def patch(module, patches):
    patches.wrap(module, "compute", recorded("compute", lambda i, a, k: {"n": a[0]}))
    patches.wrap(module, "fetch", recorded("fetch", lambda i, a, k: {"n": a[0]}))
    patches.wrap(module.Special, "get", recorded("get"))
"""


@pytest.fixture
def library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: CallbackManager
) -> Iterator[types.SimpleNamespace]:
    """A library that is not imported yet, and a target for it."""
    (tmp_path / "a_library.py").write_text(LIBRARY)
    (tmp_path / "a_target.py").write_text(TARGET)
    monkeypatch.syspath_prepend(tmp_path)
    table = dict(targets.TARGETS)
    table["a_library"] = Target("a_library", "a_target", by_default=False)
    monkeypatch.setattr(frame, "TARGETS", table)
    monkeypatch.setattr(harmless, "_told", set())
    yield types.SimpleNamespace(path=tmp_path, load=lambda: importlib.import_module("a_library"))
    spanloom.uninstrument()
    for name in ("a_library", "a_target"):
        sys.modules.pop(name, None)


def test_a_library_is_patched_when_it_is_imported(library: Any, manager: CallbackManager) -> None:
    """Before that nothing of the target is loaded; afterwards its calls are events; undone, they are none."""
    spanloom.instrument("a_library")
    assert "a_target" not in sys.modules
    assert spanloom.instrumented() == ()
    module = library.load()
    assert spanloom.instrumented() == ("a_library",)
    assert module.compute(2) == 4
    assert tree(manager) == ["call compute ok"]
    spanloom.uninstrument("a_library")
    assert module.compute(2) == 4
    assert type(module.compute) is types.FunctionType
    assert len(tree(manager)) == 1


def test_imports_are_watched_for_as_long_as_it_is_needed(library: Any) -> None:
    """The finders are those that there were, as soon as no library is waited for any more."""
    finders = list(sys.meta_path)
    spanloom.instrument("a_library", "logging")
    assert len(sys.meta_path) == len(finders) + 1
    spanloom.uninstrument("a_library")
    library.load()
    assert len(sys.meta_path) == len(finders) + 1
    spanloom.uninstrument("logging")
    assert sys.meta_path == finders


async def test_a_call_carries_what_the_target_reads_of_it(library: Any, manager: CallbackManager) -> None:
    """A wrapper is given what a function is bound to and its arguments, of functions and coroutine functions."""
    module = library.load()
    spanloom.instrument("a_library")
    assert (module.compute(2), await module.fetch(2), module.Special().get(1), module.Client().get(1)) == (
        4,
        6,
        1,
        1,
    )
    assert manager.recorder is not None
    assert [(event.name, dict(event.payload)) for event in manager.recorder.ended()] == [
        ("compute", {"n": 2}),
        ("fetch", {"n": 2}),
        ("get", {}),
    ]


def test_doing_it_twice_is_doing_it_once(library: Any, manager: CallbackManager) -> None:
    """As is undoing it, also before the library is imported."""
    spanloom.instrument("a_library")
    spanloom.uninstrument()
    spanloom.uninstrument()
    module = library.load()
    assert spanloom.instrumented() == ()
    assert module.compute(1) == 2
    spanloom.instrument("a_library")
    spanloom.instrument("a_library")
    assert module.compute(1) == 2
    assert tree(manager) == ["call compute ok"]


def test_a_target_under_another_is_patched_once(manager: CallbackManager) -> None:
    """Two targets have something around a semaphore's `acquire`; asking for the lower one again adds nothing."""
    original = vars(asyncio.Semaphore)["acquire"]
    spanloom.instrument("asyncio")
    spanloom.instrument("asyncio.sync")
    upper = vars(asyncio.Semaphore)["acquire"]
    spanloom.instrument()
    assert vars(asyncio.Semaphore)["acquire"] is upper

    async def main() -> None:
        semaphore = asyncio.Semaphore(1)
        await semaphore.acquire()
        asyncio.get_running_loop().call_soon(semaphore.release)
        await semaphore.acquire()

    asyncio.run(main())
    assert tree(manager) == ["slot_wait Semaphore ok"]
    spanloom.uninstrument()
    assert vars(asyncio.Semaphore)["acquire"] is original


def test_a_method_that_is_inherited_is_given_back_to_its_base(library: Any) -> None:
    """Undone, a class that had a method from its base has it from there again."""
    module = library.load()
    spanloom.instrument("a_library")
    assert "get" in vars(module.Special)
    spanloom.uninstrument()
    assert "get" not in vars(module.Special)
    assert module.Special().get(1) == 1


def test_names_in_other_modules_are_patched_and_given_back(library: Any, manager: CallbackManager) -> None:
    """``from a_library import compute`` before or after; who has hidden a function calls the original in the end."""
    module = library.load()
    user = types.ModuleType("a_user")
    sys.modules["a_user"] = user
    try:
        exec("from a_library import compute as early", vars(user))
        spanloom.instrument("a_library")
        exec("from a_library import compute as late\nhidden = [late]", vars(user))
        assert user.early is user.late is module.compute
        spanloom.uninstrument()
        assert user.early is user.late is module.compute
        assert user.hidden[0](3) == 6
        assert tree(manager) == []
    finally:
        del sys.modules["a_user"]


def test_modules_that_load_later_do_so_later(library: Any, manager: CallbackManager) -> None:
    """To look for names in all modules is no reason to load one that waits for the first look at it."""
    (library.path / "a_lazy_one.py").write_text("import what_nobody_has")
    spec = importlib.util.find_spec("a_lazy_one")
    assert spec is not None
    assert spec.loader is not None
    loader = spec.loader = importlib.util.LazyLoader(spec.loader)
    sys.modules["a_lazy_one"] = lazy = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(lazy)
        module = library.load()
        spanloom.instrument("a_library")
        assert module.compute(1) == 2
        spanloom.uninstrument()
        with pytest.raises(ModuleNotFoundError, match="what_nobody_has"):
            lazy.anything  # noqa: B018 -- this is the first look
    finally:
        sys.modules.pop("a_lazy_one", None)
    assert tree(manager) == ["call compute ok"]


def test_names_are_given_back_even_if_an_attribute_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be set any more is said, and does not keep others from what they had."""

    class Fixed(type):
        is_fixed = False

        def __setattr__(cls, name: str, value: object) -> None:
            if cls.is_fixed:
                raise AttributeError(name)
            super().__setattr__(name, value)

    class Owner(metaclass=Fixed):
        method = staticmethod(repr)

    module, user = types.ModuleType("a_module"), types.ModuleType("a_user")
    for each in (module, user):
        vars(each)["compute"] = original = test_an_unknown_target_is_an_error
        monkeypatch.setitem(sys.modules, each.__name__, each)
    patches = Patches()
    patches.replace(module, "compute", lambda _: lambda: None)
    patches.replace(Owner, "method", lambda _: lambda: None)
    patches.settle()
    assert vars(user)["compute"] is vars(module)["compute"] is not original
    monkeypatch.setattr(Fixed, "is_fixed", True)
    with pytest.raises(AttributeError):
        patches.undo()
    assert vars(user)["compute"] is vars(module)["compute"] is original


def test_a_reloaded_library_is_patched_again(library: Any, manager: CallbackManager) -> None:
    """A reload brings the original back, and what is new is patched before anybody can call it."""
    module = library.load()
    spanloom.instrument("a_library")
    importlib.reload(module)
    assert module.compute(1) == 2
    assert tree(manager) == ["call compute ok"]
    spanloom.uninstrument()
    assert type(module.compute) is types.FunctionType


def test_what_others_have_patched_meanwhile_stays(library: Any, manager: CallbackManager) -> None:
    """A wrapper around ours is left in its place, and calls the original by ours."""
    module = library.load()
    spanloom.instrument("a_library")
    ours = module.compute
    module.compute = theirs = lambda n: ours(n) + 1
    spanloom.uninstrument()
    assert module.compute is theirs
    assert module.compute(1) == 3
    assert tree(manager) == []


def test_a_library_that_has_changed_is_left_alone(
    library: Any, manager: CallbackManager, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning with what it is known as, everything as it was, and the import succeeds."""
    (library.path / "a_library.py").write_text(LIBRARY.replace("def fetch", "def renamed"))
    spanloom.instrument("a_library")
    with caplog.at_level(logging.WARNING, "spanloom"):
        module = library.load()
        spanloom.instrument("a_library")
    assert type(module.compute) is types.FunctionType
    assert module.compute(1) == 2
    assert spanloom.instrumented() == ()
    (record,) = caplog.records
    assert record.getMessage() == (
        "a_library is not instrumented, because it is not as it is known (from a-library 1.0): "
        "AttributeError: a_library has no fetch"
    )


def test_arguments_that_cannot_be_read_are_no_failure(
    library: Any, manager: CallbackManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The call goes on with an event that lacks them, and one warning says so."""
    module = library.load()
    spanloom.instrument("a_library")
    assert (module.compute(n=1), module.compute(n=2)) == (2, 4)
    assert tree(manager) == ["call compute ok"] * 2
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["compute"]


def test_an_unknown_target_is_an_error() -> None:
    """Of both, with the names there are; nothing is patched then."""
    for function in (spanloom.instrument, spanloom.uninstrument):
        with pytest.raises(ValueError, match="no target 'asincio'; there are: asyncio"):
            function("asyncio", "asincio")
    assert spanloom.instrumented() == ()


def test_threads_may_do_it_at_the_same_time(library: Any, manager: CallbackManager) -> None:
    """Many threads that patch, undo and call: no call fails, and in the end everything is as it was."""
    module = library.load()
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def patch_and_undo() -> None:
        try:
            barrier.wait()
            for _ in range(5):
                spanloom.instrument("a_library")
                assert module.compute(2) == 4
                spanloom.uninstrument("a_library")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=patch_and_undo) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert type(module.compute) is types.FunctionType
    assert spanloom.instrumented() == ()


def test_a_thread_that_imports_and_one_that_patches_do_not_wait_for_each_other(
    library: Any, manager: CallbackManager
) -> None:
    """The lock is not held while something is imported: the import in another thread goes on, and is patched."""
    (library.path / "a_library.py").write_text(
        "import threading\nimport a_gate\na_gate.entered.set()\nassert a_gate.go.wait(10)\n" + LIBRARY
    )
    gate = types.ModuleType("a_gate")
    gate.entered, gate.go = threading.Event(), threading.Event()
    sys.modules["a_gate"] = gate
    try:
        importing = threading.Thread(target=library.load)
        importing.start()
        assert gate.entered.wait(10)
        patching = threading.Thread(target=spanloom.instrument, args=("a_library",))
        patching.start()
        spanloom.instrument("asyncio")
        gate.go.set()
        importing.join(10)
        patching.join(10)
        assert not importing.is_alive()
        assert not patching.is_alive()
        assert spanloom.instrumented() == ("asyncio", "a_library")
    finally:
        del sys.modules["a_gate"]


def test_patches_are_of_the_very_attribute(manager: CallbackManager) -> None:
    """`Patches.replace` returns the original, `wrap` needs an attribute that is there."""
    holder = types.ModuleType("holder")
    holder.function = original = lambda: 1
    patches = Patches()
    assert patches.replace(holder, "function", lambda old: lambda: old() + 1) is original
    assert holder.function() == 2
    with pytest.raises(AttributeError):
        patches.wrap(holder, "nothing", recorded("nothing"))
    patches.undo()
    assert holder.function is original


def test_a_handler_under_the_guard_of_tests_fails_the_call() -> None:
    """``raise_handler_errors`` is felt by a patched call, as by all others."""

    class Broken:
        def on_event_end(self, event: spanloom.Event) -> None:
            raise RuntimeError("hook")

    holder = types.ModuleType("holder")
    holder.function = lambda: 1
    Patches().wrap(holder, "function", recorded("function"))
    own = CallbackManager([Broken()], raise_handler_errors=True)
    with spanloom.use_callback_manager(own), pytest.raises(spanloom.HandlerError):
        holder.function()


def test_what_is_open_at_the_end_of_the_process_is_told_to_nobody() -> None:
    """A response that was never closed, a loop over attempts that was left: handlers may be gone by then."""
    program = """
from spanloom import CallbackManager, use_callback_manager
from spanloom.instrument.exchange import open_exchange
from spanloom.instrument.tries import watch

class Telling:
    def on_event_end(self, event):
        print(event.type)

with use_callback_manager(CallbackManager([Telling()])):
    watch("dropped").attempt()
    kept = open_exchange("GET", "host", None), watch("kept")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["attempt", "retry"], "")


def test_importing_spanloom_loads_no_target() -> None:
    """Nor wrapt, which takes longer to import than all of it."""
    program = (
        "import sys, spanloom;"
        "print([name for name in sys.modules if name == 'wrapt' or name.startswith('spanloom.instrument.targets.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['spanloom.instrument.targets.registry']"


@pytest.mark.parametrize("name", targets.TARGETS)
def test_every_target_has_what_a_target_has(name: str) -> None:
    """`VERSIONS` and `patch`, in a file that can be imported without the library being patched."""
    file = importlib.import_module(targets.TARGETS[name].file)
    assert isinstance(dict(file.VERSIONS), dict)
    assert callable(file.patch)


def test_what_a_library_has_imported_itself_has_the_patched_functions(
    library: Any, manager: CallbackManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of it that has got a function by name, while the library was imported, and whoever waits for that."""
    (library.path / "a_part.py").write_text("from a_library import compute as inner")
    (library.path / "a_user.py").write_text(
        "import a_library\nfrom a_library import compute\nfrom a_part import inner"
    )
    with (library.path / "a_library.py").open("a") as file:
        file.write("\nimport a_part\n")
    spanloom.instrument("a_library")
    try:
        user = importlib.import_module("a_user")
        assert user.compute(1) == user.inner(1) == sys.modules["a_part"].inner(1) == 2
        assert tree(manager) == ["call compute ok"] * 3
    finally:
        for name in ("a_part", "a_user"):
            sys.modules.pop(name, None)
