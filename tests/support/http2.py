"""HTTP/2 by hand, for strangers that do what no client library does (RFC 9113)."""

from __future__ import annotations

import asyncio
from typing import Final

HEADERS: Final = 1
SETTINGS: Final = 4
END_HEADERS: Final = 4
"""A flag of HEADERS."""
INITIAL_WINDOW: Final = (4).to_bytes(2, "big")
"""The setting for the bytes that the peer may send in a stream before it is asked for more."""
_HEAD_BYTES: Final = 9


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def greeting(settings: bytes = b"") -> bytes:
    """Return what a client says first."""
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, settings)


def request(path: str, **more: str) -> bytes:
    """Return the headers of a call of gRPC, none of them compressed, and `more` of them."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "x",
        "content-type": "application/grpc",
        "te": "trailers",
        **more,
    }
    block = b""
    for name, value in fields.items():
        block += b"\0" + bytes([len(name)]) + name.encode()
        block += bytes([len(value)]) + value.encode()
    return block


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Read a frame, and return its kind and its stream."""
    head = await reader.readexactly(_HEAD_BYTES)
    await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3], int.from_bytes(head[5:9], "big")
