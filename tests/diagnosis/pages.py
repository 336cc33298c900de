"""The pages of the findings in the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from spanloom.diagnosis.codes import CODES

FINDINGS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "findings"
TOLD_BY_TIME = (
    "CANCEL_SWALLOWED",
    "LOST_EXCEPTION",
    "RETRY_STORM",
    "SLOT_HOG",
    "STRAGGLER",
    "TASK_COLLECTED",
    "TASK_LEAK",
)
"""The codes whose programs are judged by what has been seen of them over time; all others are by asking the process."""
TOLD_AT_ONCE = tuple(sorted(CODES.keys() - set(TOLD_BY_TIME)))
_ASKED = """
import sys, threading
from spanloom import why

found = set()


def ask():
    while True:
        found.update(f"{finding.code}: {finding.message}" for finding in why(apart_s=0.01))


threading.Thread(target=ask, daemon=True).start()
exec(compile(sys.argv[1], "cure.py", "exec"), {"__name__": "__main__"})
sys.exit("\\n".join(found) or 0)
"""


def blocks(code: str) -> list[str]:
    """Return the programs on the page of a finding: the sick one, and its cures."""
    text = (FINDINGS / f"{code}.md").read_text(encoding="utf-8")
    return re.findall(r"^```py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_cure(code: str, folder: Path) -> tuple[int, str]:
    """Run the cure on the page of a finding in `folder`, and ask meanwhile what is wrong with it.

    Returns:
        ``(0, "")`` if it ended by itself, without a warning, and nothing was found; otherwise what it has said.
    """
    command = [sys.executable, "-W", "error", "-c", _ASKED, blocks(code)[1]]
    done = subprocess.run(command, timeout=60, check=False, capture_output=True, text=True, cwd=folder)
    return done.returncode, done.stderr
