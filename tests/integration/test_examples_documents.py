"""The code in the documents does what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mrcore.engine.api import run
from tests.support.repository import ROOT

TEXT = "the whale and the sea\nthe captain\n"


def block(document: str, holding: str) -> str:
    """Return the one Python block of a document in which a text stands."""
    blocks: list[str] = re.findall(
        r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL
    )
    found = [code for code in blocks if holding in code]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a text where the documents have theirs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/moby.md").write_text(TEXT)
    return tmp_path


@pytest.mark.parametrize("document", ["README.md", "docs/jobs.md"])
def test_first_job(document: str, desk: Path) -> None:
    (desk / "wc.py").write_text(block(document, "combine = reduce"))
    result = run("wc.py", inputs="docs/*.md", output="out", engine="inline", reduces=1)
    assert list(result.lines()) == ["and\t1", "captain\t1", "sea\t1", "the\t3", "whale\t1"]


def test_job_with_parameters_counters_and_side_files(desk: Path) -> None:
    (desk / "stop.txt").write_text("the and")
    (desk / "long_words.py").write_text(block("docs/jobs.md", "context.count"))
    result = run(
        "long_words.py",
        inputs="docs/*.md",
        output="out",
        files=["stop.txt"],
        params={"shortest": "7"},
        engine="inline",
        reduces=1,
    )
    assert list(result.lines()) == ["captain\t1"]
    assert result.counters == {"stop words": 4}


@pytest.mark.slow
def test_job_of_a_program(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = block("docs/jobs.md", "mrcore.run(")
    exec(compile(code, "program.py", "exec"), {"__name__": "program"})
    assert capsys.readouterr().out.startswith("{} ")
    parts = [part.read_text() for part in (desk / "out/notebook").glob("part-*")]
    assert sorted("".join(parts).split()) == [*"11113", "and", "captain", "sea", "the", "whale"]
