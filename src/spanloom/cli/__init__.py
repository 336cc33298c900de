"""The command line, ``spanloom``: one file a command, and nothing but the parsing of arguments in it.

What the commands show is made by `spanloom.viewer`, out of the file that `spanloom.store` reads.
"""

from spanloom.cli._entry import main

__all__ = ["main"]
