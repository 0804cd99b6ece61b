"""Lines of an output, however its bytes come."""

from __future__ import annotations

import pytest

from mrcore.output import reading


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
