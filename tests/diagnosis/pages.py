"""The pages of the findings in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

FINDINGS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "findings"


def blocks(code: str) -> list[str]:
    """Return the programs on the page of a finding: the sick one, and its cures."""
    text = (FINDINGS / f"{code}.md").read_text(encoding="utf-8")
    return re.findall(r"^```py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
