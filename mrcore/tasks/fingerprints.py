"""Fingerprints of errors: whether two attempts have raised the same at the same place."""

from __future__ import annotations

import hashlib
from typing import Final

from mrcore.errors import MrcoreError
from mrcore.model.task import Mark
from mrcore.plugin.tracebacks import user_line
from mrcore.shuffle.keys import shown
from mrcore.shuffle.user_code import UserCodeError

_MAX_CHAINED: Final = 20
"""Exceptions of a chain that are looked at."""
_CERTAIN: Final = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
"""Errors of the system that stay as they are."""


def fingerprint(error: BaseException, mark: Mark | None = None) -> str:
    """Return the identity of an error and its place; empty where another attempt may do better.

    The place is the record at `mark`, or else the key or the function. Type and line count, and
    not the message: that may have a time or the address of an object.
    """
    raised = error.error or error if isinstance(error, UserCodeError) else error
    if may_pass(raised):
        return ""
    parts = [type(raised).__qualname__, str(user_line(raised))]
    if mark is not None:
        parts += [mark.uri, str(mark.offset)]
    elif isinstance(error, UserCodeError):
        parts += [error.function, shown(error.key) if error.has_key else ""]
    elif isinstance(error, MrcoreError):
        parts.append(str(error).partition("\n")[0])
    text = "\0".join(parts).encode(errors="backslashreplace")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def may_pass(error: BaseException) -> bool:
    """Return whether an error, or one that led to it, is the system's, the network's or a person's.

    A service that is down for some seconds raises the same at the same record, too.
    """
    found: BaseException | None = error
    for _ in range(_MAX_CHAINED):
        if found is None:
            return False
        if isinstance(found, OSError) and not isinstance(found, _CERTAIN):
            return True
        if isinstance(found, MemoryError | KeyboardInterrupt):
            return True
        found = found.__cause__ or found.__context__
    return True
