"""CRC32C of buffers of any type."""

from __future__ import annotations

from typing import Final

import google_crc32c

_COPY_BYTES: Final = 1 << 20


def extend_crc32c(crc: int, data: bytes | bytearray | memoryview) -> int:
    """Return the CRC32C of the bytes that `crc` covers, followed by `data`."""
    if isinstance(data, bytes):
        return int(google_crc32c.extend(crc, data))
    # The C function takes only `bytes`. Copying costs a tenth of reading the data. It is done in
    # pieces, since a large copy would be held until the end.
    view = memoryview(data).cast("B")
    for start in range(0, len(view), _COPY_BYTES):
        crc = google_crc32c.extend(crc, bytes(view[start : start + _COPY_BYTES]))
    return int(crc)
