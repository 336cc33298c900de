"""Fresh interpreters, for what only shows in one: memory, imports, instructions."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 600


def python(arguments: Sequence[str], *, under: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    """Run this interpreter on some arguments, in a bare environment and with a fixed hash seed.

    Args:
        arguments: What follows the interpreter's own name.
        under: A command to run the interpreter under.

    Raises:
        RuntimeError: It failed; the message ends with what it wrote to its standard error.
    """
    command = [*under, sys.executable, *arguments]
    # the caller's variables would be in the size of the stack, and so in the count of instructions
    environment = {"PYTHONHASHSEED": "0", "PATH": os.defpath, "HOME": os.devnull}
    done = subprocess.run(  # noqa: PLW1510 -- checked below, with a message that shows what went wrong
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed with {done.returncode}:\n{done.stderr[-2_000:]}")
    return done
