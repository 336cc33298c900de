"""The documentation is true: its code runs, and it leaves out nothing that is public."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spanloom.diagnosis.codes import CODES, Code
from spanloom.events import EventStatus, EventType, keys, model_keys
from tests.environments import without_ours

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
REFERENCE = sorted((DOCS / "reference").glob("*.md"))
SIGNATURE = re.compile(r"^#{2,4} `(?:await )?(?P<path>[A-Za-z_.]+)\((?P<parameters>.*)\)`$", re.MULTILINE)
PUBLIC_MODULES = [
    "spanloom",
    "spanloom.exceptions",
    "spanloom.evaluation",
    "spanloom.processing",
    "spanloom.events",
    "spanloom.testing",
    *(f"spanloom.handlers.{name}" for name in ("debug", "logging", "otel", "progress", "record")),
    "spanloom.store",
]


def read(pages: list[Path]) -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def sources(folder: str, pattern: str) -> str:
    return read(sorted((ROOT / folder).rglob(pattern)))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    """Every Python block runs as its reader would run it, and prints what the page says."""
    clean = without_ours()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "tests" / "docs_page.py"), str(page)],
        cwd=tmp_path,
        env=clean | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "100"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    """What `__all__` promises, the reference explains, in code style."""
    text = read(REFERENCE)
    missing = [
        name
        for name in importlib.import_module(module).__all__
        if not re.search(rf"`[^`\n]*\b{re.escape(name)}\b[^`\n]*`", text)
    ]
    assert not missing


@pytest.mark.parametrize("member", [*EventType, *EventStatus], ids=str)
def test_every_event_type_and_status_is_in_the_reference(member: str) -> None:
    """Events are the product: each kind and each way to end is explained."""
    assert f"`{member}`" in (DOCS / "reference" / "events.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", keys.__all__)
def test_every_payload_key_is_in_the_reference(name: str) -> None:
    """A reader may rely on the payload keys that spanloom writes, so each is explained."""
    assert f"| `{getattr(keys, name)}` |" in (DOCS / "reference" / "events.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(model_keys.__all__) - {"CONTENT"}))
def test_every_key_for_models_is_in_the_reference(name: str) -> None:
    """What a handler understands, whoever writes a payload can look up."""
    assert f"| `{getattr(model_keys, name)}` |" in (DOCS / "reference" / "recorded.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.name)
def test_every_code_of_a_finding_has_a_page(code: Code) -> None:
    """The table says what it means and leads to it; it shows a program that has it, the verdict, and a cure."""
    table = (DOCS / "reference" / "findings.md").read_text(encoding="utf-8")
    assert f"\n| [{code.name}](findings/{code.name}.md) | {code.meaning} |\n" in table
    assert f"\nfindings/{code.name}\n" in table
    page = (DOCS / "reference" / "findings" / f"{code.name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# `{code.name}`\n")
    shown = re.search(
        r"\n## The smallest program that shows it\n\n```py\n.*?```text\n(?P<verdict>.*?)```\n\n## Its cure\n\n```py\n",
        page,
        re.DOTALL,
    )
    assert shown is not None
    assert shown["verdict"].startswith(f"{code.name} (")


def test_every_environment_variable_is_in_the_reference() -> None:
    """The page lists exactly the variables that the sources read."""
    pattern = r"\bSPANLOOM_[A-Z_]+\b"
    page = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    assert set(re.findall(pattern, sources("src", "*.py"))) == set(re.findall(pattern, page))


def test_every_handler_name_is_in_the_reference() -> None:
    """Each name that `SPANLOOM_HANDLERS` takes out of the box is explained, and each loads."""
    page = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    points = importlib.metadata.entry_points(group="spanloom.handlers")
    assert {point.name for point in points} >= {"debug", "logging", "otel", "progress"}
    for point in points:
        assert f"`{point.name}`" in page
        assert inspect.isclass(point.load())


def documented_signatures() -> list[tuple[str, str]]:
    return [(match["path"], match["parameters"]) for match in SIGNATURE.finditer(read(REFERENCE))]


@pytest.mark.parametrize(("path", "parameters"), documented_signatures(), ids=lambda value: value[:40])
def test_a_documented_signature_is_the_real_one(path: str, parameters: str) -> None:
    """The parameters in a heading of the reference are those of the code: names, order, kinds, defaults."""
    assert parameters == real_signature(resolve(path))


def resolve(path: str) -> object:
    """Find `path` in the public modules: ``run_jobs`` or ``CallbackManager.event``."""
    first, *rest = path.split(".")
    for module in map(importlib.import_module, PUBLIC_MODULES):
        if first in module.__all__:
            found = getattr(module, first)
            for name in rest:
                found = getattr(found, name)
            return found
    message = f"{path} is in the reference but in no public module"
    raise AssertionError(message)


def real_signature(found: object) -> str:
    """Write the signature of `found` without annotations and without ``self``."""
    assert callable(found)
    signature = inspect.signature(found)
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    signature = signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)
    text = re.sub(r"<(?:class|built-in function|function) '?(?:\w+\.)*(\w+)'?[^>]*>", r"\1", str(signature))
    text = re.sub(r"<\w+\.\w+: ('[^']*')>", r"\1", text)  # an enum member stands for its value
    return text[1:-1].replace("'", '"')


def test_every_command_that_the_docs_name_exists() -> None:
    """No page sends its reader to a `make` target that is not there."""
    targets = set(
        re.findall(r"^([a-z][a-z-]*)[^=\n]*:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = set(re.findall(r"`make ([a-z-]+)", read(PAGES))) | set(
        re.findall(r"^make ([a-z-]+)", read(PAGES), re.MULTILINE)
    )
    assert named <= targets | {"test-on-"}


def test_the_version_is_in_the_changelog() -> None:
    """The release that pyproject.toml names has its notes."""
    version = importlib.metadata.version("spanloom")
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
