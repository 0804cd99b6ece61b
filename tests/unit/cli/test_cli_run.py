"""`mrcore run`: its options for the cluster that it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mrcore.cli.main import cli
from mrcore.errors import UsageError


def run(folder: Path, *options: str) -> Result:
    """Run word count over a small file."""
    (folder / "job.py").write_text("def map(key, value):\n    yield key, value\n")
    (folder / "in").write_text("a\n")
    words = ["run", str(folder / "job.py"), str(folder / "in"), "-o", str(folder / "out")]
    return CliRunner().invoke(cli, [*words, *options])


def test_numbers_of_processes_reach_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    class Cluster:
        def __init__(self, **sizes: Any) -> None:
            asked.append(sizes)
            raise UsageError("This is far enough.")

    monkeypatch.setattr("mrcore.engine.embedded.EmbeddedCluster", Cluster)
    result = run(tmp_path, "-w", "3", "--slots", "2", "--masters", "2")
    assert str(result.exception) == "This is far enough."
    (sizes,) = asked
    assert (sizes["workers"], sizes["slots"], sizes["masters"]) == (3, 2, 2)


def test_the_inline_engine_has_no_masters(tmp_path: Path) -> None:
    result = run(tmp_path, "--engine", "inline", "--masters", "2")
    assert result.exit_code == 2
    assert "--engine inline has no master. Remove --masters" in result.output
