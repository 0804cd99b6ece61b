"""Writing to Google Cloud Storage: content is gathered first, and sent when it is committed."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from mrcore.errors import (
    PermissionDeniedError,
    PreconditionFailedError,
    StorageError,
    UnavailableError,
)
from mrcore.storage.base import ABSENT, ObjectInfo
from mrcore.storage.gcs.client import GcsConnection
from mrcore.storage.gcs.objects import ATTEMPT, blob_of, expected, info_of, marked, refused
from mrcore.storage.streams import Unfinished
from mrcore.storage.system_errors import os_errors

_SPOOL_BYTES: Final = 8 << 20
"""Content up to here stays in memory; more lies in a temporary file without a name."""
_ONE_REQUEST_BYTES: Final = 8 << 20
"""The client's own limit for sending content in one request."""
_CHUNK_BYTES: Final = 16 << 20


_Spool: TypeAlias = "tempfile.SpooledTemporaryFile[bytes]"


class GcsWriter(Unfinished[_Spool]):
    """Content on its way to a name; see `mrcore.storage.base.Writer`.

    Nothing is sent before `commit`, for what the client's own writers send appears when they are
    closed, on the error path too.
    """

    def __init__(
        self,
        connection: GcsConnection,
        uri: str,
        expect: str | None,
        metadata: Mapping[str, str],
    ) -> None:
        self._connection = connection
        self._uri = uri
        self._expect = expect
        self._mark = (ATTEMPT, os.urandom(16).hex())
        self._metadata = {**metadata, **dict([self._mark])}
        super().__init__(_new_spool())

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append."""
        spool = self.content
        with os_errors(tempfile.gettempdir()):
            return spool.write(data)

    def commit(self) -> ObjectInfo:
        """Send the content, in one request or in a resumable upload."""
        spool = self.content
        size = spool.seek(0, io.SEEK_END)
        failures: list[Exception] = []
        bounds = self._connection.bounds
        if size > _ONE_REQUEST_BYTES:
            bounds = self._connection.upload_bounds(failures.append)

        def send() -> ObjectInfo:
            try:
                return self._send(spool, size, bounds)
            except Exception as error:
                failures.append(error)
                raise

        try:
            info = self._connection.insist(self._uri, send)
        except (PermissionDeniedError, PreconditionFailedError, UnavailableError) as error:
            # After a success whose reply was lost, who may create but not replace is denied.
            denied = isinstance(error, PermissionDeniedError) and len(failures) < 2
            own = None if denied else marked(self._connection, self._uri, self._mark)
            if own is None:
                raise self._refusal(error, len(failures)) from error
            info = own
        self.end()
        return info

    def _send(self, spool: _Spool, size: int, bounds: dict[str, Any]) -> ObjectInfo:
        blob = blob_of(self._connection, self._uri, chunk_size=_CHUNK_BYTES)
        blob.metadata = self._metadata
        blob.upload_from_file(
            spool,
            rewind=True,
            size=size,
            content_type="application/octet-stream",
            checksum="crc32c",
            if_generation_match=expected(self._uri, self._expect),
            **bounds,
        )
        return info_of(self._uri, blob)

    def _refusal(self, error: StorageError, failures: int) -> StorageError:
        conditional = self._expect not in (None, ABSENT)
        if isinstance(error, PreconditionFailedError) and failures > 1 and conditional:
            # One of the failures may have been a success that somebody has since built upon.
            return UnavailableError(
                f"{self._uri} was replaced by somebody else, perhaps after this process had. "
                "Look at it, then try again."
            )
        return refused(self._uri, self._expect, error)

    def let_go(self, content: _Spool) -> None:
        """Close it, which deletes it."""
        content.close()


def _new_spool() -> _Spool:
    return tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)
