"""Checksums of objects of the state, by which damage on a disk is found.

An object is one JSON object or one map of msgpack, and gets one more field, the last: the CRC32C of
the object without this field. So it stays readable by other tools, and by readers that do not know
the field.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mrcore.util.crc32c import extend_crc32c

_JSON_FIELD: Final = b',"crc32c":"'
JSON_SEAL_BYTES: Final = len(_JSON_FIELD) + len(b'01234567"}')
"""Bytes of the checksum of a JSON object, and of its end."""
_MSGPACK_FIELD: Final = b"\xa6crc32c\xce"
"""The name of the field, and the type of its value: four bytes, without a sign."""
MSGPACK_SEAL_BYTES: Final = len(_MSGPACK_FIELD) + 4
"""Bytes of the checksum of a map."""
_FIXMAP: Final = 0x80
_FIXMAP_MAX: Final = 15
"""Fields of the smallest kind of map, at most."""
_UNFIT: Final = "its checksum does not fit"


def seal_json(content: bytes) -> bytes:
    """Return a JSON object, which has fields, with its checksum."""
    end = b'%b%08x"}' % (_JSON_FIELD, extend_crc32c(0, content))
    return b"".join((memoryview(content)[:-1], end))


def is_sealed_json(content: bytes) -> bool:
    """Return whether a JSON object has a checksum; raise ValidationError for one that is wrong."""
    end = content[-JSON_SEAL_BYTES:]
    if not end.startswith(_JSON_FIELD):
        return False
    crc = extend_crc32c(extend_crc32c(0, content[:-JSON_SEAL_BYTES]), b"}")
    if end != b'%b%08x"}' % (_JSON_FIELD, crc):
        raise msgspec.ValidationError(_UNFIT)
    return True


def seal_msgpack(content: bytes) -> bytes:
    """Return a map of msgpack, which has fewer than 15 fields, with its checksum."""
    fields = content[0] - _FIXMAP
    assert 0 <= fields < _FIXMAP_MAX, "not a small map"
    head, body = bytes((content[0] + 1,)), memoryview(content)[1:]
    return b"".join((head, body, _MSGPACK_FIELD, extend_crc32c(0, content).to_bytes(4)))


def is_sealed_msgpack(content: bytes) -> bool:
    """Return whether a map has a checksum; raise ValidationError for one that is wrong."""
    if content[-MSGPACK_SEAL_BYTES:-4] != _MSGPACK_FIELD:
        return False
    crc = extend_crc32c(0, bytes(((content[0] - 1) & 0xFF,)))
    if content[-4:] != extend_crc32c(crc, content[1:-MSGPACK_SEAL_BYTES]).to_bytes(4):
        raise msgspec.ValidationError(_UNFIT)
    return True
