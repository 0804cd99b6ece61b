"""Every scenario gives what its file says. `MRCORE_REWRITE=1 pytest tests/scenario` rewrites them:
read the difference before you keep it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.scenario.script import Script

FILES = sorted(Path(__file__).parent.glob("*.txt"))


def played(text: str) -> str:
    """Return a scenario with what the machine answers now."""
    script = Script()
    out: list[str] = []
    expected = False
    for line in text.splitlines():
        if line == "----" or (expected and line):
            expected = True
            continue
        expected = False
        if not line and out and not out[-1]:
            continue
        out.append(line)
        if line and not line.startswith("#"):
            out += ["----", *script.obey(line), ""]
    assert script.replayed().cluster.durable == script.machine.cluster.durable, (
        "replay differs from live"
    )
    return "\n".join(out).rstrip("\n") + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_scenario(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    answer = played(text)
    if os.environ.get("MRCORE_REWRITE"):
        path.write_text(answer, encoding="utf-8")
    else:
        assert answer == text
    assert "----" in answer


def test_guards_of_the_core_name_scenarios_and_tests_that_are_there() -> None:
    root = Path(__file__).parents[2]
    core = "".join(path.read_text() for path in sorted((root / "master/core").glob("*.py")))
    folders = ("tests/unit/master/core", "tests/unit/master/shell")
    tests = "".join(path.read_text() for name in folders for path in (root / name).glob("*.py"))
    scenarios = re.findall(r"\b\d\d_[a-z]\w+", core)
    assert len(scenarios) > 60
    assert set(scenarios) <= {path.stem for path in FILES}
    named = set(re.findall(r"\b(test_\w+)", core))
    assert named <= set(re.findall(r"def (test_\w+)", tests))


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 25
