"""The command line, ``spanloom``: one file for each command; what several commands share begins with an underscore.

What the commands show is made by `spanloom.viewer` from the file that `spanloom.store` reads.
"""

from spanloom.cli._entry import main

__all__ = ["main"]
