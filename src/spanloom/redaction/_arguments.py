"""Secrets among the arguments of a command given as a list; `_commands` does the same for a command in a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spanloom.redaction._looks import is_filler, is_plain, looks_random
from spanloom.redaction._marks import MARK
from spanloom.redaction._names import Kind, Names, words_of

__all__ = ["is_option", "redact_argument"]

_USER: Final = frozenset({"-u", "-U", "--user", "--proxy-user"})
# Programs, and their options whose argument is a password; for those of `_JOINED` it is in the same word.
_PASSWORD_OF: Final = {
    "login": ("-p", "-w"),
    "sshpass": ("-p",),
    "ldapsearch": ("-w",),
    "ldapmodify": ("-w",),
    "smbclient": ("-p",),
    "redis-cli": ("-a",),
    "sqlcmd": ("-P",),
    "bcp": ("-P",),
    "ipmitool": ("-P",),
    "zip": ("-P",),
    "unzip": ("-P",),
    "twine": ("-p",),
    "openssl": ("-k", "-K"),
}
_JOINED: Final = frozenset(
    {"mysql", "mysqldump", "mysqladmin", "mysqlimport", "mariadb", "mariadb-dump", "sshpass"}
)


def is_option(argument: str) -> bool:
    """Return whether `argument` is an option of a command."""
    return argument.startswith("-") and " " not in argument and bool(words_of(argument))


def redact_argument(programs: Sequence[str], before: str, argument: str, names: Names) -> str | None:
    """Return `argument` redacted; ``None`` if its neighbours say nothing, and it has to be judged by itself.

    Args:
        programs: Arguments before it that are no options, only the last part of a path.
        before: The argument right before.
        argument: The argument to redact.
        names: Classifies names.
    """
    if before in _USER:
        user, colon, password = argument.partition(":")
        is_number = user.isdigit() and password.isdigit()  # a user and a group
        return f"{user}:{MARK}" if colon and password and not is_number and "/" not in user else None
    if any(before in _PASSWORD_OF.get(program, ()) for program in programs):
        return MARK
    if argument.startswith("-p") and len(argument) > len("-p") and not _JOINED.isdisjoint(programs):
        return f"-p{MARK}"
    if is_option(before):
        # The next option, or a password that begins like one?
        is_next = is_option(argument) and not any(map(str.isdigit, argument))
        kind = names.kind(before)
        # Cheap checks first: the last one needs regular expressions, and most options are harmless.
        if kind is Kind.HARMLESS or "=" in before or is_next or not argument or is_filler(argument):
            return None
        from spanloom.redaction._telling import is_secret

        return MARK if is_secret(kind, before, argument) else None
    # The cheapest check first: the last one needs regular expressions.
    is_named = not is_plain(argument) and names.kind(before) is Kind.SECRET
    return MARK if is_named and looks_random(argument) else None
