"""No warning of a fork in a process with several threads (Python 3.12 and later) if the others are ours.

Our threads hold no lock over a fork that the child could need, and the program has not started them.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from typing import Final

__all__ = ["before_fork"]

_OURS: Final = "spanloom-"
_MESSAGE: Final = r"This process \(pid=\d+\) is multi-threaded, use of (fork|forkpty)\(\)"


def before_fork() -> None:
    """Suppress the warning if all threads but this one are ours; otherwise let it be given."""
    if sys.version_info < (3, 12):
        return
    import warnings

    entry = ("ignore", re.compile(_MESSAGE, re.IGNORECASE), DeprecationWarning, None, 0)
    with contextlib.suppress(ValueError):
        warnings.filters.remove(entry)
    own = threading.get_ident()
    # Not enumerate(), which takes a lock. The watching thread is unknown to `threading`.
    others = [thread for ident, thread in list(threading._active.items()) if ident != own]  # noqa: SLF001 -- as above
    if all(thread.name.startswith(_OURS) for thread in others):
        warnings.filterwarnings("ignore", _MESSAGE, DeprecationWarning)
