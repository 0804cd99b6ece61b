"""The tables of formats: what they name is there, and the documents say the same."""

from __future__ import annotations

import pytest

from mrcore.errors import UsageError
from mrcore.model.formats import (
    INPUT_FORMATS,
    OUTPUT_FORMATS,
    VARIANTS,
    InputFormat,
    OutputFormat,
    format_of_part,
)
from mrcore.model.job import Compression
from mrcore.model.object_names import part_name
from mrcore.util.lazy import load
from tests.support.repository import ROOT


@pytest.mark.parametrize("found", [*INPUT_FORMATS, *VARIANTS], ids=lambda found: found.name)
def test_code_of_an_input_format_is_there(found: InputFormat) -> None:
    assert callable(load(found.reader))
    assert callable(load(found.examine))
    for variant in found.by_extension.values():
        assert VARIANTS[variant].is_columnar == found.is_columnar


@pytest.mark.parametrize("found", [*OUTPUT_FORMATS], ids=lambda found: found.name)
def test_code_of_an_output_format_is_there(found: OutputFormat) -> None:
    for place in (found.writer, found.as_text):
        assert not place or callable(load(place))
    assert not found.schemas or callable(load(found.schemas).join)
    assert Compression.NONE in found.compressions


def test_a_part_is_known_by_its_name() -> None:
    for found in OUTPUT_FORMATS:
        for compression in found.compressions:
            assert format_of_part(part_name(7, found.name, compression)) is found


def test_the_documents_have_the_same_tables() -> None:
    text = (ROOT / "docs/jobs.md").read_text(encoding="utf-8")
    rows = [f"| {found.value} | {found.key} |" for found in INPUT_FORMATS]
    rows += [f"| {found.pair} |" for found in OUTPUT_FORMATS]
    names = [*INPUT_FORMATS.names(), *OUTPUT_FORMATS.names()]
    for name, row in zip(names, rows, strict=True):
        default = " (default)" if name == "text" else ""
        assert f"\n| `{name}`{default} {row}\n" in text


def test_a_name_that_no_format_has_is_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"^'xml' is not an input format\. Use one of text, whole"):
        INPUT_FORMATS["xml"]
