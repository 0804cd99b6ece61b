"""The Python blocks of the pages on datasets and on testing, run one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.documents import RUNS, blocks
from tests.support.repository import ROOT


@pytest.mark.parametrize("page", ["datasets.md", "testing.md"])
def test_the_blocks_of_a_page_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    found = [
        block.text
        for block in blocks(ROOT / "docs" / page, page)
        if block.language == "python" and not RUNS.search(block.text)  # another test runs those
    ]
    assert len(found) >= 3
    module = ModuleType("__main__")
    for block in found:
        exec(compile(block, page, "exec"), vars(module))
    printed = capsys.readouterr().out
    if page == "datasets.md":
        assert re.search(r"stage 3: reduce of 2\n    top\(3\)", printed)
        assert "[(1, ('Ann', '/')), (1, ('Ann', '/about')), (2, ('Bob', None))]" in printed
        assert printed.endswith("\n10\n")
