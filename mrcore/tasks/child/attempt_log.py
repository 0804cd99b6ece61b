"""The output of user code: where a child collects it, and where it goes after the attempt."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import sys
from typing import Final

from mrcore.errors import StorageError
from mrcore.model import object_names
from mrcore.model.ids import AttemptId
from mrcore.model.partial_log import encode_partial
from mrcore.storage.base import ABSENT
from mrcore.storage.registry import storage_for
from mrcore.tasks.child.protocol import JobFile

MAX_LOG_BYTES: Final = 16 << 20
"""Bytes kept of the output of one attempt: its end."""
_FIRST_DESCRIPTOR: Final = 64
"""Out of the way of code that counts on the first few descriptors."""
_libc: Final = ctypes.CDLL(None)


class AttemptLog:
    """The file that takes the standard output of this process, emptied before each attempt.

    User code may put a file of its own on descriptor 1, or close any number. So the log has a
    descriptor of its own, and is what it was at the start, or is left alone.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self.descriptor = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
        self._file = identity(self.descriptor)

    def keep(self, job: JobFile, attempt: AttemptId) -> bytes:
        """Store what the attempt has printed, and empty the log; errors cost no more than it.

        Returns the text, or its end where it is long.
        """
        _flush()
        text = b""
        try:
            info = os.fstat(self.descriptor)
            if (info.st_dev, info.st_ino) != self._file:
                return b""
            size = info.st_size
            if size:
                text = os.pread(self.descriptor, MAX_LOG_BYTES, max(0, size - MAX_LOG_BYTES))
                os.ftruncate(self.descriptor, 0)
                store_log(job, attempt, text)
        except OSError as error:
            _warn(attempt, error)
        return text


def identity(descriptor: int) -> tuple[int, int]:
    """Return what is open there: it changes when the number gets another file or socket."""
    info = os.fstat(descriptor)
    return info.st_dev, info.st_ino


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        # User code may have closed it, or put anything in its place.
        with contextlib.suppress(Exception):
            stream.flush()  # type: ignore[union-attr]
    _libc.fflush(None)


def store_partial_log(job: JobFile, attempt: AttemptId, text: bytes, size_bytes: int) -> None:
    """Store the end of what a running attempt has printed so far, which is this much in all."""
    uri = object_names.partial_log_uri(job.state_uri, job.spec, attempt)
    try:
        with storage_for(uri).open_write(uri) as writer:
            writer.write(encode_partial(text, size_bytes))
            writer.commit()
    except StorageError as error:
        _warn(attempt, error)


def store_log(job: JobFile, attempt: AttemptId, text: bytes) -> None:
    """Store what an attempt printed; a store that refuses costs the log, not the attempt."""
    uri = object_names.log_uri(job.state_uri, job.spec, attempt)
    try:
        with storage_for(uri).open_write(uri, expect=ABSENT) as writer:
            writer.write(text)
            writer.commit()
    except StorageError as error:
        _warn(attempt, error)


def _warn(attempt: AttemptId, error: Exception) -> None:
    logging.getLogger("mrcore").warning("The log of %s could not be stored: %s", attempt, error)
