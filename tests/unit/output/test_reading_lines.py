"""Lines of an output, however its bytes come."""

from __future__ import annotations

import bz2
import gzip
import tracemalloc
from collections.abc import Callable, Sequence

import msgspec
import pyarrow as pa
import pytest

from mrcore.errors import DataError
from mrcore.model.job import Versions
from mrcore.output import reading
from mrcore.output.receipt import PartReceipt, Receipt
from tests.support import stores


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\nb", b"c\n", b"d\n"], ["a", "bc", "d"]),
        ([b"a\n", b"\n", b"last"], ["a", "", "last"]),
        ([b"caf\xc3", b"\xa9 \xff\n"], ["café \udcff"]),
        ([b"a\r\x0cb\n"], ["a\r\x0cb"]),
        ([], []),
    ],
)
def test_lines_are_put_together(
    chunks: list[bytes], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "output_chunks", lambda output_uri: iter(chunks))
    assert list(reading.output_lines("mem://out")) == lines


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda text: pa.Codec("zstd").compress(text, asbytes=True),
}


def _put_output(place: stores.Place, parts: Sequence[tuple[str, bytes]]) -> str:
    """Write an output of these parts; return its URI."""
    for name, content in parts:
        place.put(f"out/{name}", content)
    receipts = tuple(PartReceipt(name, len(content), None, 1) for name, content in parts)
    receipt = Receipt(
        job_id="j",
        name="j",
        parts=receipts,
        records_in=1,
        records_out=1,
        counters={},
        attempts=1,
        versions=Versions(python="3", mrcore="0", pyarrow="1", cloudpickle="3"),
        submitted_seconds=0.0,
        ended_seconds=0.0,
        elapsed_seconds=0.0,
    )
    place.put("out/_SUCCESS", msgspec.json.encode(receipt))
    return place.uri("out")


@pytest.mark.parametrize(
    ("name", "parts", "text"),
    [
        ("part-{}.csv", [b"key,value\na,1\n", b"key,value\nb,2\n"], b"key,value\na,1\nb,2\n"),
        ("part-{}.tsv", [b"k\tv\na\t1\n", b"k\tv\n", b"k\tv\nb\t2\n"], b"k\tv\na\t1\nb\t2\n"),
        ("x=1/part-{}.csv", [b'"a\nb"\n1\n', b'"a\nb"\n2\n'], b'"a\nb"\n1\n2\n'),
        # Only the first row of a part is a header, and only where it is the same.
        ("part-{}.csv", [b"a\na\n", b"a\na\n"], b"a\na\na\n"),
        ("part-{}.csv", [b"a\n1\n", b"b\n2\n"], b"a\n1\nb\n2\n"),
        ("part-{}.csv", [b"", b"a\n1\n", b"a\n2\n"], b"a\n1\n2\n"),
        ("part-{}", [b"same\n", b"same\n"], b"same\nsame\n"),
    ],
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_header_comes_once(
    name: str, parts: list[bytes], text: bytes, is_compressed: bool
) -> None:
    place = stores.memory_place()
    with stores.registered(place):
        uri = _put_output(
            place,
            [
                (
                    name.format(number) + (".gz" if is_compressed else ""),
                    gzip.compress(part) if is_compressed else part,
                )
                for number, part in enumerate(parts)
            ],
        )
        assert b"".join(reading.output_chunks(uri)) == text
        assert list(reading.output_lines(uri)) == text.decode().splitlines()


@pytest.mark.parametrize("extension", ["gz", "bz2", "zst"])
def test_a_cut_part_is_named_and_leaves_no_memory_behind(extension: str) -> None:
    text = b"".join(b"%d\n" % number for number in range(100_000))
    stored = _COMPRESS[extension](text)
    place = stores.memory_place()
    with stores.registered(place):
        uri = _put_output(place, [(f"part-0.{extension}", stored)])
        assert b"".join(reading.output_chunks(uri)) == text
        uri = _put_output(place, [(f"part-0.{extension}", stored[: len(stored) // 2])])
        tracemalloc.start()
        try:
            for _ in range(8):
                with pytest.raises(DataError, match=f"part-0.{extension} cannot be read"):
                    list(reading.output_chunks(uri))
            left, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert left < 4 << 20


def test_a_part_that_was_cut_is_not_taken_for_the_output() -> None:
    place = stores.memory_place()
    with stores.registered(place):
        uri = _put_output(place, [("part-0", b"a\nb\n"), ("part-1", b"c\n")])
        place.put("out/part-1", b"")
        with pytest.raises(DataError, match=r"part-1 has 0 bytes, and the receipt says 2: it was"):
            list(reading.output_lines(uri))
