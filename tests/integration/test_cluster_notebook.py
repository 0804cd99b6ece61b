"""The example notebook, run cell by cell as IPython does it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from tests.support.repository import ROOT
from tests.support.run_support import Place

NOTEBOOK = ROOT / "examples/cluster.ipynb"
DRIVER = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shown = []
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] != "code":
        continue
    ended = shell.run_cell("".join(cell["source"]), store_history=True)
    ended.raise_error()
    data, _ = shell.display_formatter.format(ended.result)
    shown.append({"text": data["text/plain"], "html": data.get("text/html", "")})
print(json.dumps(shown))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("IPython") is None,
    reason="IPython is not installed; run scripts/setup --dev",
)
def test_the_notebook_runs(place: Place) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER, str(NOTEBOOK)],
        cwd=place.work,
        env={**place.environment, "IPYTHONDIR": str(place.root / "ipython")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    *_, last = ended.stdout.splitlines()
    cells = json.loads(last)
    assert "<div" in cells[0]["html"]
    assert [cell["text"] for cell in cells[1:6]] == ["2", "11", "42", "5950", "36"]
    assert "growing 1" in ended.stdout
    assert "('be', 2)" in cells[6]["text"]
    assert "slots busy" in cells[7]["html"]
    assert "<table" in cells[8]["html"]
    assert "closed" in cells[9]["text"]
