"""What a result is filed under: the key of its item, and the version of the function that made it."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from spanloom.store.checkpoint_key import Keys, Versions, digest_of


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
from spanloom.store.checkpoint_key import Versions
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
    assert version_of(Model().ask)[0] == "Model.ask"
    assert version_of(Model().ask) == version_of(Model().ask)
    name, version = version_of(Model())
    assert name == "Model"
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


def test_a_version_of_the_users_own_is_taken_as_it_is() -> None:
    """With `version=`, the code does not matter, but different functions still do not mix."""
    versions = Versions("3")
    assert versions.of_function(compiled(SOURCE)) == ("f", "3")
    assert versions.of_function(compiled(SOURCE.replace("text", "other"))) == ("f", "3")
    assert versions.of_job(functools.partial(print, "x")) == ("print", "3")


def test_a_function_without_code_needs_a_version() -> None:
    """What is not written in Python cannot be looked at: a TypeError that says what to give."""
    with pytest.raises(TypeError, match=r"version of print .* give Checkpoint\(..., version=\)"):
        version_of(print)


def test_a_key_depends_on_the_value_only() -> None:
    """The order of a dict's keys does not matter, the type of a scalar does."""
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert len({digest_of(value) for value in (1, "1", 1.5, True, None, [1], {"1": 1})}) == 7


class Document(msgspec.Struct):
    path: str
    page: int


@pytest.mark.parametrize("item", ["text", 7, ("a", 1), {"id": 3}, Document("a.pdf", 2), None])
def test_items_that_json_knows_are_their_own_keys(item: object) -> None:
    """Without `key=`, the item is the key, and nothing of it is written in a readable form."""
    digest, text = Keys(None, None).next(item)
    assert digest == digest_of(item)
    assert text is None


def test_a_partial_is_known_by_its_arguments() -> None:
    """Jobs that are partials need no key where their arguments have a JSON form."""
    keys = Keys(None, None)
    found = {
        keys.next(functools.partial(print, *args, **kwargs))[0]
        for args, kwargs in [((1,), {}), ((2,), {}), ((), {"x": 1}), ((), {"x": 2})]
    }
    assert len(found) == 4
    with pytest.raises(ValueError, match="item 4"):
        keys.next(functools.partial(print, 1))
    assert Keys(None, None).next(functools.partial(functools.partial(print, 1), 2)) == Keys(None, None).next(
        functools.partial(print, 1, 2)
    )


def test_keys_that_the_user_names_can_be_read_in_the_file() -> None:
    """A key of the user's own is kept as text, shortened; one that is no plain value is not."""
    assert Keys(lambda item: f"page {item}", None).next(3)[1] == "page 3"
    assert Keys([7], 1).next(object())[1] == "7"
    assert len(Keys(lambda item: "x" * 999, None).next(3)[1] or "") == 200
    assert Keys(lambda item: [item], None).next(3)[1] is None
