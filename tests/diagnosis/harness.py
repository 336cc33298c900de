"""Small programs with a header that says what they have, and whether a diagnosis of them is right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROGRAMS = sorted((HERE / "programs").glob("*.py"))


def header(path: Path) -> dict[str, str]:
    """Return what the first lines of a program say of it."""
    return dict(re.findall(r"^# (expect|names|line): (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE))


@cache
def run(kind: str, paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Run programs on the loop of `kind`, each in a process of its own, and return what was found, by name."""
    command = [sys.executable, str(HERE / "zoo.py"), kind, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(result["path"]).stem: result for result in results}


def misses(path: Path, result: dict[str, Any]) -> list[str]:
    """Return what is wrong with what was found."""
    expected = header(path)
    if expected["expect"] == "OK":
        return [f"{one['code']}: {one['message']}" for one in result["ever"]]
    if not result["stable"]:
        return ["nothing found"]
    finding = result["stable"][0]
    wrong = []
    message = finding["message"]
    if finding["code"] not in expected["expect"].split("|"):
        wrong.append(f"{finding['code']}: {message}")
    for name in expected.get("names", "-").split(","):
        words = [re.escape(one.strip()) for one in name.split("|")]
        if name.strip() != "-" and not any(
            re.search(rf"\b{word}\b", message, re.IGNORECASE) for word in words
        ):
            wrong.append(f"{name.strip()} is not in: {message}")
    line = expected.get("line", "-")
    if line != "-":
        at = int((finding["location"] or ":0").rpartition(":")[2])
        if all(abs(at - int(one)) > 2 for one in line.split("|")):
            wrong.append(f"{finding['location']} is not at {line}")
    return wrong
