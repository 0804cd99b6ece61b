"""Whole jobs in formats that are added to the tables from outside, without any other change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import mrcore
from mrcore.cli.job_options import _click_type
from mrcore.errors import InputError, UsageError
from mrcore.model.formats import INPUT_FORMATS, OUTPUT_FORMATS, Cut, InputFormat, OutputFormat
from mrcore.model.job import Compression
from mrcore.model.job_options import JOB_OPTIONS
from mrcore.model.task import Piece
from mrcore.records.batches import Batch, BrokenRecordError, OnBroken
from mrcore.records.inputs import InputFile
from mrcore.records.sources import open_file
from mrcore.records.writers import _RowWriter
from mrcore.storage.registry import storage_for

MAGIC = b"BYTE"
"""A file is this, and then records of one byte, each of which is a digit."""


def examine(files: Sequence[InputFile], target_bytes: int) -> Mapping[str, Sequence[int]]:
    """Cut each file into records of one byte, behind the head."""
    for file in files:
        if storage_for(file.uri).read(file.uri, 0, len(MAGIC)) != MAGIC:
            raise InputError(f"{file.shown} does not begin with {MAGIC.decode()}.")
    return {file.uri: range(len(MAGIC), file.size_bytes) for file in files}


def batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield the digits of a piece."""
    with open_file(piece) as file:
        content = file.read()
    for offset in range(max(piece.start, len(MAGIC)), piece.end):
        digit = content[offset : offset + 1]
        if digit.isdigit():
            yield Batch(piece, (int(digit),), (offset,), 1)
        else:
            text = digit.decode()
            on_broken(BrokenRecordError(f"{text} is not a digit.", offset, text))


class Shouting(_RowWriter):
    """Pairs as `KEY=VALUE!`, each on a line."""

    def _encoded(self, keys: Sequence[object], values: Sequence[object]) -> bytes:
        rows = (f"{key}={value}!\n" for key, value in zip(keys, values, strict=True))
        return "".join(rows).encode()


def as_text(part: Any) -> Iterator[bytes]:
    yield storage_for(part.uri).read(part.uri).replace(b"=", b"\t").replace(b"!", b"")


DIGITS = InputFormat(
    name="digits",
    value="a digit",
    key="(file, byte offset)",
    reader=f"{__name__}:batches",
    examine=f"{__name__}:examine",
    cut=Cut.POINTS,
)
SHOUT = OutputFormat(
    name="shout",
    pair="`KEY=VALUE!`",
    writer=f"{__name__}:Shouting",
    extension=".loud",
    compressions=(Compression.NONE, Compression.GZIP),
    as_text=f"{__name__}:as_text",
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder with an input of digits, while the tables have the two formats."""
    (tmp_path / "in.digits").write_bytes(MAGIC + b"12x12")
    (tmp_path / "job.py").write_text(
        "def map(key, digit):\n    yield digit, key[1]\n\n\n"
        "def reduce(digit, places):\n    return sorted(places)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    INPUT_FORMATS.add(DIGITS)
    OUTPUT_FORMATS.add(SHOUT)
    yield tmp_path
    INPUT_FORMATS.remove(DIGITS.name)
    OUTPUT_FORMATS.remove(SHOUT.name)


def run(**options: Any) -> mrcore.Result:
    return mrcore.run(
        "job.py",
        inputs="in.digits",
        output="out",
        input_format="digits",
        output_format="shout",
        engine="inline",
        **options,
    )


def test_a_job_reads_one_and_writes_the_other(here: Path) -> None:
    result = run(max_bad_records=1)
    assert (here / "out/part-00000.loud").read_text() == "1=[4, 7]!\n2=[5, 8]!\n"
    assert list(result.lines()) == ["1\t[4, 7]", "2\t[5, 8]"]
    (bad,) = (here / "out/_bad").iterdir()
    assert b"x is not a digit" in bad.read_bytes()


@pytest.mark.parametrize(
    ("option", "name"), [("input_format", "digits"), ("output_format", "shout")]
)
def test_the_command_line_knows_them(option: str, name: str) -> None:
    (found,) = [found for found in JOB_OPTIONS if found.name == option]
    kind = _click_type(found)
    assert kind is not None
    assert kind.convert(name, None, None) == name


def test_its_errors_are_those_of_any_format(here: Path) -> None:
    with pytest.raises(mrcore.RunFailedError, match="x is not a digit"):
        run()
    with pytest.raises(UsageError, match="shout output cannot be compressed by zst: choose gz or"):
        run(compress="zst")
    (here / "in.digits").write_bytes(b"1212")
    with pytest.raises(InputError, match="does not begin with BYTE"):
        run()
    with pytest.raises(UsageError, match="input_format is 'roman', but has to be one of text, "):
        mrcore.run("job.py", inputs="in.digits", output="out", input_format="roman")
