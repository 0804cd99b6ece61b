"""Files that are not what their name or the job's format says."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from mrcore.errors import DataError, InputError
from mrcore.model.formats import format_of_file
from mrcore.model.job import Codec
from mrcore.records.codecs import codec_of, without_extension
from mrcore.records.inputs import expand, parse_input
from mrcore.tasks.plan import make_plan
from tests.gcsserver import GcsServer
from tests.support.records_pieces import cut_as, input_file, piece_of, read_as, records_of
from tests.support.specs import spec_for
from tests.support.stores import Place

LINES = b"one\ntwo\n"


def streamed(content: bytes, codec: Literal["zstd", "lz4"]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def columns(module: object) -> bytes:
    sink = io.BytesIO()
    module.write_table(pa.table({"n": [1, 2]}), sink)  # type: ignore[attr-defined]
    return sink.getvalue()


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a.txt", LINES)
    return sink.getvalue()


def tarred(mode: str = "w") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("a.txt")
        info.size = len(LINES)
        archive.addfile(info, io.BytesIO(LINES))
    return sink.getvalue()


PACKED = {
    "gz": gzip.compress(LINES),
    "bz2": bz2.compress(LINES),
    "xz": lzma.compress(LINES),
    "zst": streamed(LINES, "zstd"),
    "lz4": streamed(LINES, "lz4"),
}
OTHERS = [
    (zipped(), "a zip archive: unpack it first"),
    (tarred(), "a tar archive: unpack it first"),
    (columns(pq), "parquet: use --input-format parquet"),
    (columns(orc), "ORC: convert it"),
    (b"Obj\x01\x04\x14avro.codec\x08null", "Avro: convert it"),
    ("a\nb\n".encode("utf-16"), "UTF-16 text: convert it to UTF-8"),
    ("a\nb\n".encode("utf-32"), "UTF-32 text: convert it to UTF-8"),
]
OF_LINES = ["text", "blocks", "jsonl", "csv"]


@pytest.mark.parametrize("name", ["x.GZ", "x.gzip", "x.bgz", "x.Gz"])
def test_gzip_has_many_names(name: str) -> None:
    records = records_of(PACKED["gz"], "text", name)
    assert [value for _, value in records] == ["one", "two"]


@pytest.mark.parametrize("extension", list(PACKED))
def test_each_codec_is_read_by_its_extension(extension: str) -> None:
    for name in (f"x.{extension}", f"x.{extension.upper()}"):
        records = records_of(PACKED[extension], "text", name)
        assert [value for _, value in records] == ["one", "two"]
        (split,) = cut_as([input_file(PACKED[extension], name)], "text", 4)
        assert len(split.pieces) == 1


def test_arrow_goes_by_extensions_of_any_case() -> None:
    def format_of(name: str) -> str:
        return format_of_file(without_extension(name), "arrow").name

    assert format_of("X.CSV.GZ") == "arrow-csv"
    assert format_of("x.Parquet") == "arrow-parquet"
    assert format_of("x.ndjson.xz") == "arrow-jsonl"
    assert format_of("x.csv.txt") == "arrow"


@pytest.mark.parametrize("input_format", [*OF_LINES, "whole", "arrow"])
@pytest.mark.parametrize("codec", list(PACKED))
def test_compressed_data_in_disguise_is_refused(codec: str, input_format: str) -> None:
    with pytest.raises(DataError, match=rf"^x.log holds {codec} data: name it .*\.{codec}"):
        records_of(PACKED[codec], input_format, "x.log")


@pytest.mark.parametrize("input_format", OF_LINES)
@pytest.mark.parametrize(("content", "message"), OTHERS)
def test_what_is_not_text_is_refused(content: bytes, message: str, input_format: str) -> None:
    with pytest.raises(DataError, match=rf"^part-0 holds {message}"):
        records_of(content, input_format, "part-0")


def test_a_whole_file_may_be_anything_but_compressed() -> None:
    for content, _ in OTHERS:
        ((_, value),) = records_of(content, "whole", "part-0")
        assert str(value).encode("utf-8", "surrogateescape") == content


@pytest.mark.parametrize("input_format", ["text", "jsonl", "csv", "arrow"])
def test_a_nul_byte_is_not_text(input_format: str) -> None:
    with pytest.raises(DataError, match=r"^a.bin is not text, because byte 5 is NUL\. "):
        records_of(b"line\n\0\1\2\n", input_format, "a.bin")
    assert records_of(b"a\0b\n", "blocks") == [(("a.txt", 0), "a\0b\n")]


def test_text_that_looks_like_a_signature_is_text() -> None:
    for line in (b"PAR1 score", b"BZh9 x", b"ORC and elf", b"Obj", b"PK", b"Rar!", b"%PDF-1.4"):
        assert records_of(line + b"\n") == [(("a.txt", 0), line.decode())]


def test_content_is_looked_at_within_compression_too() -> None:
    with pytest.raises(DataError, match=r"^x.gz holds gz data within its gz data: decompress it o"):
        records_of(gzip.compress(PACKED["gz"]), name="x.gz")
    for name in ("x.tar.gz", "x.tgz"):
        with pytest.raises(
            DataError, match=rf"^{name} holds a tar archive within its gz data: unp"
        ):
            records_of(tarred("w:gz"), name=name)


def test_a_file_of_another_codec_than_its_name_says() -> None:
    with pytest.raises(
        DataError, match=r"^x.gz should be gz data .*, but holds a zip archive: unp"
    ):
        records_of(zipped(), name="x.gz")
    with pytest.raises(DataError, match=r"^x.xz should be xz data .*, but holds gz data: name it"):
        records_of(PACKED["gz"], name="x.xz")
    with pytest.raises(DataError, match=r"^x.parquet is not parquet, but holds gz data: name it"):
        records_of(PACKED["gz"], "parquet", "x.parquet")


@pytest.mark.parametrize("content", [PACKED["gz"], columns(pq), "a\n".encode("utf-16")])
def test_the_first_file_is_looked_at_before_a_job_starts(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(InputError, match=r"^\./b holds "):
        make_plan(spec_for(tmp_path, "."), 1)


def test_a_long_file_of_large_blocks_passes_the_first_look(tmp_path: Path) -> None:
    numbers = b"".join(b"%d\n" % (i * 7919 % 104729) for i in range(200_000))
    (tmp_path / "a.bz2").write_bytes(bz2.compress(numbers))
    assert len(make_plan(spec_for(tmp_path, "a.bz2"), 1).splits) == 1


def test_parquet_that_is_compressed_within_keeps_the_name_that_pandas_gives(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"n": [1]}), sink, compression="gzip")
    (tmp_path / "df.parquet.gzip").write_bytes(sink.getvalue())
    for input_format in ("parquet", "arrow"):
        spec = msgspec.structs.replace(
            spec_for(tmp_path, "df.parquet.gzip"), input_format=input_format
        )
        (split,) = make_plan(spec, 1).splits
        assert len(list(read_as(split.pieces[0], input_format))) == 1


def test_an_object_is_compressed_where_its_content_encoding_says_so(
    gcs_server: GcsServer, gcs_place: Place
) -> None:
    bucket = gcs_place.base_uri.split("/")[2]
    for name, encoding in (("a", "gzip"), ("b.gz", "gzip"), ("c", "utf-8"), ("d", "br")):
        content = PACKED["gz"] if encoding == "gzip" else LINES
        gcs_server.store.insert(bucket, f"in/{name}", content, {"contentEncoding": encoding})
    for name in ("a", "b.gz", "c"):
        for given in (f"gs://{bucket}/in/{name}", f"gs://{bucket}/in/{name}*"):
            (file,) = expand([parse_input(given, "/")], "text")
            (batch,) = read_as(piece_of(file), "text")
            assert batch.values == ["one", "two"]
    with pytest.raises(InputError, match="in/d is stored with the content encoding br, which"):
        expand([parse_input(f"gs://{bucket}/in/d", "/")], "text")


def test_of_two_encodings_none_is_guessed() -> None:
    assert codec_of("x", "aws-chunked, GZIP") is Codec.GZIP
    with pytest.raises(InputError, match="content encoding gzip, gzip"):
        codec_of("x", "gzip, gzip")
