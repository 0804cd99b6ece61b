"""Between the message of an object and its version, and `mrcore.storage.base.ObjectInfo`."""

from __future__ import annotations

from mrcore.rpc.bounds import MAX_OBJECT_URI, text_within
from mrcore.rpc.v1 import worker_service_pb2
from mrcore.storage.base import ObjectInfo


def object_to_proto(info: ObjectInfo) -> worker_service_pb2.ObjectRef:
    """Return the message: name, generation, size and CRC32C; the rest stays behind."""
    return worker_service_pb2.ObjectRef(
        uri=info.uri, generation=info.generation, size_bytes=info.size_bytes, crc32c=info.crc32c
    )


def object_from_proto(message: worker_service_pb2.ObjectRef) -> ObjectInfo:
    """Return what the message says of an object; raise UsageError for an endless name."""
    return ObjectInfo(
        uri=text_within(message.uri, "the URI of a run", MAX_OBJECT_URI),
        size_bytes=message.size_bytes,
        generation=text_within(message.generation, "a generation", MAX_OBJECT_URI),
        crc32c=message.crc32c if message.HasField("crc32c") else None,
    )
