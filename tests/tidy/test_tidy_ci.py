"""CI runs what a developer runs, and runs few failed tests once more."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.repository import ROOT

# Stands for scripts/test: notes its arguments, ends with the next code, and leaves failed tests.
TEST = """#!/usr/bin/env bash
printf '%s|' "$@" >>calls; echo >>calls
mkdir -p .pytest_cache/v/cache
[[ -f failed ]] && cp failed .pytest_cache/v/cache/lastfailed
read -r code <codes; sed -i 1d codes
exit "$code"
"""


def run_ci(folder: Path, codes: str, failed: list[str]) -> tuple[int, list[str], str]:
    """Run .ci/run over a stand-in for scripts/test; return its code, the calls, and its words."""
    for name in (".ci", "scripts"):
        (folder / name).mkdir()
    shutil.copy2(ROOT / ".ci/run", folder / ".ci/run")
    (folder / "scripts/test").write_text(TEST)
    (folder / "scripts/test").chmod(0o755)
    (folder / "codes").write_text("\n".join(codes) + "\n")
    if failed:
        (folder / "failed").write_text(json.dumps(dict.fromkeys(failed, True)))
    done = subprocess.run([folder / ".ci/run"], capture_output=True, text=True, check=False)
    return done.returncode, (folder / "calls").read_text().splitlines(), done.stderr


def test_ci_runs_the_tests_of_a_developer_and_nothing_else() -> None:
    lines = (ROOT / ".ci/run").read_text().splitlines()
    code = [line for line in lines if not line.startswith("#")]
    assert not any(".venv" in line for line in code)
    assert all("scripts/test" in line for line in code if "scripts/" in line)


@pytest.mark.parametrize(
    ("codes", "failed", "code", "calls"),
    [
        ("0", [], 0, ["|"]),
        ("3", [], 3, ["|"]),  # lint, or a hang
        ("10", ["t.py::a[x/y]@group"], 0, ["|", "-n|0|t.py::a[x/y]|"]),
        ("11", ["t.py::a", "u.py::b[v@w]"], 1, ["|", "-n|0|t.py::a|u.py::b[v@w]|"]),
        ("1", ["a", "b", "c", "d"], 1, ["|"]),
    ],
    ids=["all pass", "no test failed", "passes alone", "fails again", "too many"],
)
def test_few_failed_tests_run_once_more(
    codes: str, failed: list[str], code: int, calls: list[str], tmp_path: Path
) -> None:
    found, called, words = run_ci(tmp_path, codes, failed)
    assert (found, called) == (code, calls)
    assert ("a defect to mend: t.py::a[x/y]" in words) == (code == 0 and bool(failed))


def test_what_failed_in_a_former_run_does_not_count(tmp_path: Path) -> None:
    cache = tmp_path / ".pytest_cache/v/cache"
    cache.mkdir(parents=True)
    (cache / "lastfailed").write_text('{"old.py::a": true}')
    assert run_ci(tmp_path, "1", []) == (1, ["|"], "")
