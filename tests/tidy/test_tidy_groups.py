"""Tests that share what is costly run in one process, as they ask by `xdist_group`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

GROUPED = """
    import os
    from pathlib import Path

    import pytest


    @pytest.mark.xdist_group("costly")
    @pytest.mark.parametrize("number", range(8))
    def test_one(number):
        Path(f"{os.environ['PYTEST_XDIST_WORKER']}.worker").touch()
"""


def test_a_group_runs_in_one_process(tmp_path: Path) -> None:
    (tmp_path / "test_grouped.py").write_text("\n".join(s[4:] for s in GROUPED.splitlines()))
    # The plugins that are not needed take longer to load than the tests to run.
    command = ["-m", "pytest", "-q", "-p", "xdist.plugin", "-n", "2"]
    command += ["--dist=loadgroup", "--no-loadscope-reorder", "."]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "8 passed" in done.stdout
    assert len(list(tmp_path.glob("*.worker"))) == 1
