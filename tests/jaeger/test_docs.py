"""Every piece of Collector configuration in the documentation is one that the Collector takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.jaeger.test_config import CONFIG, validate
from tools.backends.server import ROOT

BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (f"{page.stem}-{number}", block)
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), start=1)
]


def test_there_are_pieces_to_check() -> None:
    """Each page that tells of a Collector is among those whose blocks are checked."""
    pages = {name.rsplit("-", 1)[0] for name, _ in BLOCKS}
    assert pages >= {"collector-in-production", "other-backends", "sampling"}


@pytest.mark.parametrize("block", [block for _, block in BLOCKS], ids=[name for name, _ in BLOCKS])
def test_a_piece_on_top_of_our_configuration_is_valid(block: str, tmp_path: Path) -> None:
    """A YAML block of the documentation, given as a second file, makes a configuration without a wrong key."""
    second = tmp_path / "second.yaml"
    second.write_text(block, encoding="utf-8")
    done = validate("otelcol", CONFIG, second)
    assert done.returncode == 0, done.stderr
