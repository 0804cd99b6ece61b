"""Parts written to memory."""

from __future__ import annotations

from collections.abc import Sequence

from mrcore.model.job import Compression
from mrcore.records.outputs import PartCounts
from mrcore.records.writers import open_part
from mrcore.storage.memory import MemoryStorage
from mrcore.util.crc32c import extend_crc32c

Pairs = Sequence[tuple[object, object]]


def written(
    pairs: Pairs,
    output_format: str = "text",
    compression: Compression = Compression.NONE,
    *,
    sizes: Sequence[int] = (1 << 20,),
) -> bytes:
    """Return the part that holds `pairs`, written in batches of `sizes` in turn."""
    store = MemoryStorage()
    with store.open_write("mem://out/part") as sink:
        part = open_part(sink, output_format, compression)
        start = turn = 0
        while start < len(pairs):
            some = pairs[start : start + sizes[turn % len(sizes)]]
            part.write([key for key, _ in some], tuple(value for _, value in some))
            start += len(some)
            turn += 1
        counts = part.close()
        sink.commit()
    data = store.read("mem://out/part")
    assert counts == PartCounts(len(pairs), len(data), extend_crc32c(0, data), counts.schema_digest)
    assert bool(counts.schema_digest) == (output_format == "parquet")
    return data
