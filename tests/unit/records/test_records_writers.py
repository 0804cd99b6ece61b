"""Output parts: what pairs look like in each format, by whatever way they come."""

import bz2
import csv
import gzip
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mrcore.errors import DataError, UsageError
from mrcore.model.job import Compression
from mrcore.records import outputs, writers
from mrcore.records.writers import open_part
from mrcore.storage.memory import MemoryStorage
from tests.support.written_records import Pairs, written


def written_columns(keys: pa.Array, values: pa.Array) -> bytes:  # type: ignore[type-arg]
    store = MemoryStorage()
    with store.open_write("mem://out/part") as sink:
        part = open_part(sink, "text")
        part.write_columns(keys, values)
        assert part.close().records == len(keys)
        sink.commit()
    return store.read("mem://out/part")


THINGS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.binary(max_size=4)
    | st.tuples(st.text(max_size=3), st.integers())
)
UTF8 = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def _breaks(key: object, value: object) -> bool:
    broken = not {"\r", "\n"}.isdisjoint(str(key)) or "\n" in str(value)
    return value is not None and broken


def test_text() -> None:
    pairs = [("a", 1), (2, None), (None, 1.5), (("x", 1), b"y"), (True, "é"), ("b\udcff", -1)]
    assert written(pairs) == (b"a\t1\n2\nNone\t1.5\n('x', 1)\tb'y'\nTrue\t\xc3\xa9\nb\xff\t-1\n")
    assert written([]) == b""


@pytest.mark.parametrize(
    ("pair", "named"),
    [
        (("a\nb", 1), r"The key 'a\\nb' has a newline"),
        (("a\rb", 1), r"The key 'a\\rb' has a newline"),
        (("k", "a\nb"), r"The value 'a\\nb' of the key 'k' has a newline"),
    ],
)
def test_a_pair_of_text_is_one_line(pair: tuple[str, object], named: str) -> None:
    around = [("b", 1), ("c", None)]
    for pairs in ([pair], [around[0], pair], [*around, pair]):
        with pytest.raises(DataError, match=f"{named}.* --output-format jsonl or csv"):
            written(pairs)
    keys = pa.array(["first", "b", pair[0], "c"])
    values = pa.array(["first\n", "x", str(pair[1]), "y"])
    for kind in (pa.string(), pa.large_string()):
        with pytest.raises(DataError, match=named):
            written_columns(keys[1:].cast(kind), values[1:].cast(kind))
        assert written_columns(keys[1:2].cast(kind), values[1:2].cast(kind)) == b"b\tx\n"


def test_text_leaves_other_signs_as_they_are() -> None:
    lines = [("a\tb", 1), ("c\rd\n", None), ("k", "v\r\tw"), ("", "")]
    assert written(lines) == b"a\tb\t1\nc\rd\n\nk\tv\r\tw\n\t\n"
    strings = [pair for pair in lines if pair[1] not in (None, 1)]
    keys, values = map(pa.array, zip(*strings, strict=True))
    assert written_columns(keys, values) == written(strings)


@settings(max_examples=150)
@given(st.lists(st.tuples(THINGS, THINGS), max_size=20), st.lists(st.integers(1, 7), min_size=1))
def test_text_is_str_of_each_however_batched(pairs: Pairs, sizes: list[int]) -> None:
    expected = "".join(
        str(key) + ("" if value is None else f"\t{value!s}") + "\n" for key, value in pairs
    )
    try:
        encoded = expected.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        with pytest.raises(DataError, match=r"lone surrogate|newline"):
            written(pairs, sizes=sizes)
        return
    if any(_breaks(key, value) for key, value in pairs):
        with pytest.raises(DataError, match="newline"):
            written(pairs, sizes=sizes)
    else:
        assert written(pairs, sizes=sizes) == encoded


@settings(max_examples=150)
@given(
    st.lists(UTF8) | st.lists(st.integers(-(2**63), 2**63 - 1)),
    st.sampled_from(["text", "int64", "int8", "uint64", "float", "bool", "none", "bytes", "gaps"]),
    st.data(),
)
def test_columns_give_the_bytes_of_lists(
    keys: list[object], kind: str, data: st.DataObject
) -> None:
    things: dict[str, tuple[st.SearchStrategy[object], object]] = {
        "text": (UTF8, pa.string()),
        "int64": (st.integers(-(2**63), 2**63 - 1), pa.int64()),
        "int8": (st.integers(-128, 127), pa.int8()),
        "uint64": (st.integers(0, 2**64 - 1), pa.uint64()),
        "float": (st.floats(), pa.float64()),
        "bool": (st.booleans(), pa.bool_()),
        "none": (st.none(), pa.null()),
        "bytes": (st.binary(max_size=4), pa.binary()),
        "gaps": (st.none() | UTF8, pa.large_string()),
    }
    strategy, type_ = things[kind]
    values = data.draw(st.lists(strategy, min_size=len(keys), max_size=len(keys)))
    pairs = list(zip(keys, values, strict=True))
    assume(not any(_breaks(key, value) for key, value in pairs))
    key_type = pa.int64() if keys and isinstance(keys[0], int) else pa.string()
    key_array = pa.array(keys, key_type)
    value_array = pa.array(values, type_)  # type: ignore[call-overload]
    assert written_columns(key_array, value_array) == written(list(zip(keys, values, strict=True)))
    some = data.draw(st.integers(0, len(keys)))
    assert written_columns(key_array[some:], value_array[some:]) == written(
        list(zip(keys[some:], values[some:], strict=True))
    )


class Loud(str):
    """A text that shows itself in another way."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class Grade(int):
    """A number that shows itself in another way."""

    def __str__(self) -> str:
        return f"grade {int(self)}"


@pytest.mark.parametrize("others", [[], [("k", 1)], [(2, "v")], [("k", None)]])
def test_text_is_what_str_makes_of_children_of_builtins(others: Pairs) -> None:
    pairs = [(Loud("a"), Grade(1)), ("b", Grade(2)), (Loud("c"), True), *others]
    shown = [("A", "grade 1"), ("b", "grade 2"), ("C", "True")]
    shown += [(str(key), str(value)) for key, value in others if value is not None]
    lines = [f"{key}\t{value}\n" for key, value in shown]
    lines += [f"{key}\n" for key, value in others if value is None]
    assert written(pairs) == "".join(lines).encode()
    assert written(pairs[:1] * 3) == b"A\tgrade 1\n" * 3


def test_columns_beyond_32_bit_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_MAX_STRING_BYTES", 10)
    keys, values = pa.array(["a" * 20, "b"]), pa.array([1, 2])
    assert written_columns(keys, values) == b"a" * 20 + b"\t1\nb\t2\n"
    assert written_columns(keys, pa.nulls(2)) == b"a" * 20 + b"\nb\n"


def test_jsonl() -> None:
    pairs = [("é\n", 1), (("a", 1), {"k": [1.5, None, True]}), (None, "\udcff"), ("\ud800", 2**70)]
    data = written(pairs, "jsonl")
    assert data.decode().split("\n") == [
        '{"key":"é\\n","value":1}',
        '{"key":["a",1],"value":{"k":[1.5,null,true]}}',
        '{"key":null,"value":"\\udcff"}',
        '{"key":"\\ud800","value":1180591620717411303424}',
        "",
    ]
    assert json.loads(data.split(b"\n")[2])["value"] == "\udcff"


PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=6)


@settings(max_examples=100)
@given(st.lists(st.tuples(PLAIN, PLAIN | st.floats(allow_nan=False, allow_infinity=False))))
def test_jsonl_is_what_json_writes_however_batched(pairs: Pairs) -> None:
    data = written(pairs, "jsonl", sizes=[1, 2, 50])
    assert data == written(pairs, "jsonl")
    rows = [json.loads(line) for line in data.split(b"\n")[:-1]]
    assert [(row["key"], row["value"]) for row in rows] == pairs
    for line, (key, value) in zip(data.split(b"\n"), pairs, strict=False):
        text = json.dumps({"key": key, "value": value}, ensure_ascii=False, separators=(",", ":"))
        ascii_text = json.dumps({"key": key, "value": value}, separators=(",", ":"))
        assert line.decode() in (text, ascii_text)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), b"x", {1, 2}, object, {(1,): 2}])
def test_what_json_cannot_hold(value: object) -> None:
    with pytest.raises(DataError, match=r"^The pair 'k': .* cannot be written as JSON \("):
        written([("k", value)], "jsonl")


@settings(max_examples=60)
@given(st.lists(st.tuples(UTF8, st.none() | st.integers() | st.floats(allow_nan=False) | UTF8)))
def test_csv_reads_back(pairs: Pairs) -> None:
    data = written(pairs, "csv", sizes=[2, 3])
    assert data.startswith(b"key,value\n")
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    assert rows[1:] == [[str(key), "" if value is None else str(value)] for key, value in pairs]


def test_csv_quotes() -> None:
    assert written([('a"b', "x,y"), ("l\nm", None), (1, "\udcff")], "csv") == (
        b'key,value\n"a""b","x,y"\n"l\nm",\n1,\xff\n'
    )
    with pytest.raises(DataError, match="lone surrogate"):
        written([("a", "\ud800")], "csv")


def unzstd(data: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        return bytes(stream.read())


@pytest.mark.parametrize(
    ("compression", "decompress"),
    [
        (Compression.GZIP, gzip.decompress),
        (Compression.BZIP2, bz2.decompress),
        (Compression.ZSTD, unzstd),
    ],
)
@pytest.mark.parametrize("output_format", ["text", "jsonl", "csv"])
def test_compressed_parts_depend_on_the_pairs_alone(
    compression: Compression, decompress: "type[bytes]", output_format: str
) -> None:
    pairs = [(f"key {i * 7919 % 104729}", i) for i in range(120_000)]
    data = written(pairs, output_format, compression)
    assert data == written(pairs, output_format, compression, sizes=[1, 40_000, 333])
    assert decompress(data) == written(pairs, output_format)
    assert decompress(written([], output_format, compression)) == written([], output_format)


def test_compressors_are_fed_full_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []

    class Recorder:
        def compress(self, data: bytes | memoryview, /) -> bytes:
            fed.append(len(data))
            return bytes(data)

        def flush(self) -> bytes:
            return b""

    monkeypatch.setattr(outputs, "compressor", lambda compression: Recorder())
    with MemoryStorage().open_write("mem://out/part") as sink:
        output = outputs.Output(sink, Compression.GZIP)
        for size in (700_000, 700_000, 3 * outputs.CHUNK_BYTES, 5):
            output.write(bytes(size))
        output.finish()
    *full, rest = fed
    assert full == [outputs.CHUNK_BYTES] * 4
    assert output.size_bytes == sum(fed) == 1_400_005 + 3 * outputs.CHUNK_BYTES
    assert 0 < rest < outputs.CHUNK_BYTES


def test_gzip_holds_no_time() -> None:
    data = written([("a", 1)], "text", Compression.GZIP)
    assert data[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"


def test_parquet_and_bz2_do_not_go_together() -> None:
    with pytest.raises(UsageError, match="bz2"):
        written([], "parquet", Compression.BZIP2)


def test_numbers_of_numpy_become_pythons() -> None:
    values = [np.int64(1), {"a": [np.float64(1.5), np.bool_(True)]}, (np.str_("x"), np.uint8(2))]
    lines = written([("k", value) for value in values], "jsonl").splitlines()
    assert [json.loads(line)["value"] for line in lines] == [1, {"a": [1.5, True]}, ["x", 2]]
    for output_format in ("text", "csv"):
        part = open_part(MemoryStorage().open_write("mem://out/part"), output_format)
        kept = [part.keep(value) for value in values]
        assert kept == ["1", "{'a': [1.5, True]}", "('x', 2)"]
    with pytest.raises(DataError, match="timedelta64 is not a type of JSON"):
        written([("k", np.timedelta64(5, "ns"))], "jsonl")


@pytest.mark.parametrize("value", [{1: "a", "1": "b"}, [{"x": ({None: 0, "null": 1},)}]])
def test_keys_that_are_one_in_json_are_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"the keys (1 and '1'|None and 'null') are one in JSON"):
        written([("k", value)], "jsonl")
    line = written([("k", {1: "a", "2": "b", None: "c"})], "jsonl")
    assert json.loads(line)["value"] == {"1": "a", "2": "b", "null": "c"}


class _WithoutText:
    def __repr__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_a_value_without_text_is_refused_in_a_sentence(output_format: str) -> None:
    with pytest.raises(DataError, match="<_WithoutText without text: ValueError>"):
        written([("k", _WithoutText())], output_format)


@pytest.mark.parametrize("output_format", ["text", "csv"])
def test_numbers_of_numpy_from_a_shuffle_are_pythons(output_format: str) -> None:
    pairs = [("k", (np.float64(1.5), [np.int64(2)])), ("l", {"a": np.int64(3)}), ("np.", 1)]
    same = [("k", (1.5, [2])), ("l", {"a": 3}), ("np.", 1)]
    assert written(pairs, output_format) == written(same, output_format)
