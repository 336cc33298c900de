"""Of which function a result is, and of which version of it."""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from spanloom.store.checkpoint_version import Versions


def version_of(function: Any) -> tuple[str, str]:
    return Versions(None).of_function(function)


def compiled(source: str, filename: str = "one.py") -> Any:
    """Return the function `f` of a program."""
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(source, filename, "exec"), names)
    return names["f"]


SOURCE = """
async def f(x, *, y=1):
    def inner(z):
        return z in {'a', 'b', 'c', 'd'}
    return x.name + str(y) + 'text'
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'text'", "'other text'"),
        ("x.name", "x.title"),
        ("str(y)", "repr(y)"),
        ("x.name + str(y)", "str(y) + x.name"),
        ("y=1", "y=2"),
        ("'d'}", "'e'}"),
        ("    def inner", "    def other"),
        ("f(x,", "f(w,"),
    ],
)
def test_a_change_of_the_code_is_another_version(old: str, new: str) -> None:
    """A constant, a name, a call, an order, a default, a function inside: each change is seen."""
    assert old in SOURCE
    changed = (
        SOURCE.replace(old, new).replace("return x.", "return w.")
        if new == "f(w,"
        else SOURCE.replace(old, new)
    )
    assert version_of(compiled(changed)) != version_of(compiled(SOURCE))


def test_what_does_not_matter_to_the_code_is_no_other_version() -> None:
    """Comments, empty lines, the place in the file and the file's name change nothing."""
    moved = "\n# a comment\n\n" + SOURCE.replace("    def inner", "\n    # another\n    def inner")
    assert version_of(compiled(moved, "two.py")) == version_of(compiled(SOURCE))


def test_a_version_is_the_same_in_every_process() -> None:
    """The version does not depend on the hash seed, which orders sets of constants anew in each process."""
    program = f"""
from spanloom.store.checkpoint_version import Versions
names = {{"__name__": "program"}}
exec(compile({SOURCE!r}, "x.py", "exec"), names)
print(*Versions(None).of_function(names["f"]))
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert found == {" ".join(version_of(compiled(SOURCE))) + "\n"}


def test_what_is_bound_to_a_function_is_part_of_its_version() -> None:
    """Arguments of a partial, and plain variables of the function around it, count; objects of the program do not."""

    async def ask(model: str, text: str) -> str:
        return model + text

    def asking(model: Any) -> Any:
        return lambda text: ask(model, text)

    assert version_of(asking("a")) == version_of(asking("a"))
    assert version_of(asking("a")) != version_of(asking("b"))
    assert version_of(asking(object())) == version_of(asking(object()))
    assert version_of(asking([1])) == version_of(asking([2]))  # it may change while the batch runs
    assert version_of(functools.partial(ask, "a")) != version_of(functools.partial(ask, "b"))
    assert version_of(functools.partial(ask, text="a")) != version_of(functools.partial(ask, text="b"))
    assert version_of(functools.partial(ask, "a")) != version_of(ask)


class Effort(Enum):
    LOW = 1
    HIGH = 2


@pytest.mark.parametrize("version", [None, "3"])
def test_what_a_partial_is_given_counts(version: str | None) -> None:
    """Options in a dict, too: results for one temperature are none for another. Objects of the program are none."""

    async def ask(options: Any, text: str) -> str:
        return f"{options} {text}"

    def of(options: Any) -> tuple[str, str]:
        return Versions(version).of_function(functools.partial(ask, options))

    for one, other in [({"t": 0}, {"t": 1}), ([1], [2]), ({"t": [0]}, {"t": [1]}), (Effort.LOW, Effort.HIGH)]:
        assert of(one) == of(one) != of(other)
    assert of({"a": 1, "b": 2}) == of({"b": 2, "a": 1})
    assert of(object()) == of(object())


@pytest.mark.parametrize("version", [None, "3"])
def test_an_enum_around_a_function_counts(version: str | None) -> None:
    """It is as constant as a text."""

    def asking(effort: Effort) -> Any:
        async def ask(text: str) -> str:
            return f"{effort} {text}"

        return ask

    low, high = (Versions(version).of_function(asking(effort)) for effort in Effort)
    assert low != high


class Base:
    @classmethod
    async def make(cls, text: str) -> str:
        return cls.__name__ + text


class Derived(Base):
    pass


@pytest.mark.parametrize("version", [None, "3"])
def test_a_classmethod_counts_with_its_class(version: str | None) -> None:
    """Two classes that inherit it share its name and its code, but no results."""
    assert Versions(version).of_function(Base.make) == Versions(version).of_function(Base.make)
    assert Versions(version).of_function(Base.make) != Versions(version).of_function(Derived.make)


class Sized:
    """Its state may change."""

    model = "small"

    def __init__(self, model: str) -> None:
        self.model = model

    async def ask(self, text: str) -> str:
        return self.model + text


class Large(Sized):
    """Inherits the method."""

    model = "large"


@dataclass(frozen=True)
class Frozen:
    """Never changes."""

    model: str
    options: tuple[float, ...] = ()

    async def ask(self, text: str) -> str:
        return self.model + text

    async def __call__(self, text: str) -> str:
        return self.model + text


class FrozenStruct(msgspec.Struct, frozen=True):
    """The same."""

    model: str

    async def ask(self, text: str) -> str:
        return self.model + text


class Named(NamedTuple):
    """The same."""

    model: str

    async def ask(self, text: str) -> str:
        return self.model + text


@pytest.mark.parametrize("version", [None, "3"])
@pytest.mark.parametrize("kind", [Frozen, FrozenStruct, Named])
def test_an_object_that_cannot_change_counts(kind: Any, version: str | None) -> None:
    """A method is bound to it as a partial is to its arguments."""
    of = Versions(version).of_function
    assert of(kind("a").ask) == of(kind("a").ask) != of(kind("b").ask)
    assert Versions(version).unseen(kind("a").ask) is None
    assert Versions(version).of_job(kind("a").ask) == Versions(version).of_job(kind("b").ask)


@pytest.mark.parametrize("version", [None, "3"])
def test_an_object_that_is_called_counts_if_it_cannot_change(version: str | None) -> None:
    """It is its own method."""
    of = Versions(version).of_function
    assert of(Frozen("a", (1, 2))) == of(Frozen("a", (1, 2))) != of(Frozen("a", (1, 3)))


@pytest.mark.parametrize("version", [None, "3"])
def test_the_class_of_an_object_counts(version: str | None) -> None:
    """Two classes that inherit a method share its name and its code, but no results."""
    of = Versions(version).of_function
    assert of(Sized("a").ask) == of(Sized("b").ask) != of(Large("a").ask)


def test_an_object_that_is_not_seen_is_told() -> None:
    """One whose state may change, and that methods, partials or calls are of; who names the version knows of it."""
    unseen = Versions(None).unseen
    assert unseen(Sized("a").ask) == "Sized"
    assert unseen(Model()) == "Model"
    assert unseen(functools.partial(Frozen.ask, Sized("a"))) == "Sized"
    assert unseen(functools.partial(compiled(SOURCE), y=(1, Sized("a")))) == "tuple"
    assert unseen(functools.partial(compiled(SOURCE), 1, len)) is None
    assert unseen(functools.lru_cache(compiled(SOURCE))) is None
    assert unseen(Base.make) is None
    assert Versions("3").unseen(Sized("a").ask) is None


@pytest.mark.parametrize("version", [None, "3"])
def test_functions_that_a_partial_is_given_count(version: str | None) -> None:
    """By their names; lambdas have none, and count by their code."""

    def of(given: Any) -> tuple[str, str]:
        return Versions(version).of_function(functools.partial(compiled(SOURCE), given))

    assert of(len) == of(len) != of(max)
    assert of(Base) != of(Derived)
    assert of(compiled) != of(named)
    assert of(lambda: 1) == of(lambda: 1) != of(lambda: 2)


def test_a_wrapped_function_counts_with_its_wrapper() -> None:
    """Under a decorator that keeps `__wrapped__`, the function inside is seen, too."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    first, second = decorate(compiled(SOURCE)), decorate(compiled(SOURCE.replace("text", "other")))
    assert version_of(first) != version_of(second)
    versions = Versions(None)
    assert versions.of_job(functools.partial(first, 1)) != versions.of_job(functools.partial(second, 1))


class Model:
    async def ask(self, text: str) -> str:
        return text

    async def __call__(self, text: str) -> str:
        return text + "!"


def test_methods_and_callable_objects_have_versions() -> None:
    """A bound method is its function, and a callable object the method that is called."""
    assert version_of(Model().ask)[0] == f"{__name__}.Model.ask"
    assert version_of(Model().ask) == version_of(Model().ask)
    name, version = version_of(Model())
    assert name == f"{__name__}.Model"
    assert version != version_of(Model().ask)[1]


def test_jobs_of_one_function_have_one_version() -> None:
    """What a job was called with or bound to is its key's affair: coroutines and partials of a function are one."""

    async def ask(text: str) -> str:
        return text

    versions = Versions(None)
    coroutines = [ask("a"), ask("b")]
    assert len({versions.of_job(each) for each in coroutines}) == 1
    for each in coroutines:
        each.close()
    assert len({versions.of_job(functools.partial(functools.partial(ask), text)) for text in "ab"}) == 1
    assert len({versions.of_job(lambda text=text: ask(text)) for text in "ab"}) == 1
    assert versions.of_job(lambda: ask("a")) != versions.of_job(lambda: ask("b"))


def named(function: Any, version: str = "3") -> tuple[str, str]:
    return Versions(version).of_function(function)


def test_a_version_of_the_users_own_is_taken_as_it_is() -> None:
    """With `version=`, the code does not matter, nor the defaults that are part of it."""
    assert named(compiled(SOURCE)) == ("program.f", "3")
    assert named(compiled(SOURCE.replace("text", "other").replace("y=1", "y=2"))) == ("program.f", "3")
    assert Versions("3").of_job(functools.partial(print, "x")) == ("builtins.print", "3")
    assert named(Model().ask) == (f"{__name__}.Model.ask", "3")


def test_functions_of_one_name_in_two_modules_do_not_mix() -> None:
    """With `version=` or without, the module is a part of what a function is known by."""
    one, other = compiled(SOURCE), compiled(SOURCE)
    other.__module__ = "elsewhere"
    assert named(one) == ("program.f", "3")
    assert named(other) == ("elsewhere.f", "3")
    assert version_of(one) != version_of(other)
    names: dict[str, Any] = {"__name__": "third"}
    exec("async def f(): pass", names)
    job = names["f"]()
    assert Versions("3").of_job(job) == ("third.f", "3")
    job.close()


def test_what_is_bound_counts_with_a_version_of_the_users_own() -> None:
    """Functions that one function makes for different values are different ones, whatever the version is called."""

    def asking(model: Any) -> Any:
        async def ask(text: str) -> str:
            return f"{model}{text}"

        return ask

    def by_default(model: Any) -> Any:
        async def ask(text: str, model: Any = model) -> str:
            return f"{model}{text}"

        return ask

    for make in (asking, by_default, lambda model: functools.partial(compiled(SOURCE), model)):
        assert named(make("a")) == named(make("a"))
        assert named(make("a")) != named(make("b"))
        assert named(make("a")) != named(make("a"), "4")
    assert named(asking(object())) == named(asking([1])) == (f"{__name__}.{asking(1).__qualname__}", "3")


def test_lambdas_are_known_by_their_code() -> None:
    """All lambdas have one name, so that even with `version=` two of them are different functions."""
    assert named(lambda text: text + "a") != named(lambda text: text + "b")
    first, again = (compiled("f = lambda x: x.name") for _ in range(2))
    assert named(first) == named(again)


def test_what_a_function_assigns_to_is_its_state() -> None:
    """A counter outside of the function does not make each of its values a version of its own."""

    def counting() -> Any:
        done = 0

        async def ask(text: str) -> str:
            nonlocal done
            done += 1
            return text

        async def ask_inside(text: str) -> str:
            def count() -> None:
                nonlocal done
                done += 1

            count()
            return text

        return ask, ask_inside

    for function in counting():
        before = version_of(function), named(function)
        with pytest.raises(StopIteration):
            function("x").send(None)
        assert (version_of(function), named(function)) == before


def test_scripts_are_known_by_their_files_names(tmp_path: Path) -> None:
    """What two scripts call by one name is not one function, though both are `__main__`; imported, it is the same."""
    script = """
from spanloom.store.checkpoint_version import Versions
async def ask(): pass
print(*Versions("3").of_function(ask))
"""

    def said(*args: str) -> str:
        return subprocess.run(
            [sys.executable, *args],
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text(script)
    assert said("first.py") == "first.ask 3"
    assert said("second.py") == "second.ask 3"
    assert (
        said("-m", "first") == said("-c", "import sys; sys.path.insert(0, ''); import first") == "first.ask 3"
    )
    assert said("-c", script) == "__main__.ask 3"


def test_a_function_without_code_needs_a_version() -> None:
    """What is not written in Python cannot be looked at: a TypeError that says what to give."""
    with pytest.raises(TypeError, match=r"version of print .* give Checkpoint\(..., version=\)"):
        version_of(print)
