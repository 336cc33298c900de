"""``python -m spanloom``: the command line where ``spanloom`` is not on the path."""

from spanloom.cli import main

if __name__ == "__main__":
    main(prog_name="python -m spanloom")
