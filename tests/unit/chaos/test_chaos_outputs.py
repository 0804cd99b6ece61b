"""Comparison of outputs: where they differ first."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcore.chaos import outputs
from mrcore.client.request import JobRequest
from mrcore.engine.inline import run_inline
from mrcore.model.job import JobState


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two outputs of one job."""
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "wc.py").write_text("def map(key, value):\n    yield value, 1\n")
    (folder / "in.txt").write_text("one\ntwo\nthree\n")
    return folder


def out(folder: Path, name: str) -> Path:
    request = JobRequest(plugin="wc.py", inputs=("in.txt",), output=name, cwd=folder)
    assert run_inline(request).state is JobState.SUCCEEDED
    return folder / name


def difference(one: Path, other: Path) -> str | None:
    return outputs.first_difference(f"file://{one}", f"file://{other}")


def test_equal_outputs(folder: Path) -> None:
    assert difference(out(folder, "a"), out(folder, "b")) is None


def test_outputs_that_differ(folder: Path) -> None:
    one, other = out(folder, "c"), out(folder, "d")
    (part,) = [path.name for path in other.glob("part-*")]
    content = (other / part).read_bytes()
    lines = content.splitlines(keepends=True)
    (other / part).write_bytes(b"".join(lines[:-1]) + b"twX\t1\n")
    found = difference(one, other) or ""
    assert f"{part} differs from byte {content.rindex(b'o')}" in found
    assert "'two\\t1'" in found
    assert "'twX\\t1'" in found
    (other / part).write_bytes(b"".join(lines[:-1]))
    assert "nothing more" in (difference(one, other) or "")
    (other / part).write_bytes(content)
    assert difference(one, other) is None
    (other / part).unlink()
    assert f"{part} is missing" in (difference(one, other) or "")


def test_more_than_a_sequential_run_writes(folder: Path) -> None:
    one, other = out(folder, "e"), out(folder, "f")
    (other / "part-99999").write_text("x")
    assert "part-99999 is in" in (difference(one, other) or "")


def test_a_receipt_that_does_not_fit(folder: Path) -> None:
    one, other = out(folder, "g"), out(folder, "h")
    for place in (one, other):
        (part,) = place.glob("part-*")
        part.write_text("the same in both\n")
    assert "receipt says" in (difference(one, other) or "")
