"""Valid content of input files, small, for hostile bytes to begin with."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

TEXT = "one\ntwo words\r\n\nthree ü\n".encode() * 3
CSV = b'a,b\n1,"x, ""y"""\n2,\n'
JSON = b'{"a": 1, "b": [1.5, null, "x"]}\n{"a": 2}\n'


def compressed() -> dict[str, bytes]:
    """Return the text in each compression, by the name of its file."""
    made = {
        # Small tables: those of the highest levels take far longer to clear than the text to read.
        "x.gz": gzip.compress(TEXT),
        "x.bz2": bz2.compress(TEXT, 1),
        "x.xz": lzma.compress(TEXT, preset=0),
    }
    codecs: dict[str, Literal["zstd", "lz4"]] = {"zst": "zstd", "lz4": "lz4"}
    for extension, codec in codecs.items():
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(TEXT)
        made[f"x.{extension}"] = sink.getvalue().to_pybytes()
    return made


def parquet() -> list[bytes]:
    """Return files of parquet: a plain one, and others with most of what the format has."""
    plain = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
    nested = pa.table({
        "when": pa.array([0, 1, None], pa.timestamp("us")),
        "tags": [["a"], [], None],
        "place": [{"x": 1.5}, {"x": None}, {"x": 2.5}],
    })  # fmt: skip
    sinks = [io.BytesIO() for _ in range(3)]
    pq.write_table(plain, sinks[0])
    pq.write_table(nested, sinks[1], row_group_size=2, compression="zstd")
    pq.write_table(
        nested, sinks[2], use_dictionary=False, data_page_version="2.0", compression="none"
    )
    return [sink.getvalue() for sink in sinks]
