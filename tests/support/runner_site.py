"""A home for the runner, with a gcloud that only says what a test tells it to say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mrcore.cli.main import run_command_line
from tests.support.repository import ROOT

_GCLOUD = r"""#!/bin/sh
echo "$*" >>{folder}/calls
for rule in $(ls -r {folder}/rules); do
    rule={folder}/rules/$rule
    printf '%s\n' "$*" | grep -qE -f "$rule/pattern" || continue
    left=$(cat "$rule/times")
    [ "$left" != 0 ] || continue
    echo $((left - 1)) >"$rule/times"
    cat "$rule/out"
    cat "$rule/errors" >&2
    exit $(cat "$rule/code")
done
"""
NOBODY = "http://127.0.0.1:9"


@dataclass
class RunnerSite:
    """A folder, and a gcloud in it that notes its calls."""

    folder: Path

    def says(
        self, errors: str, code: int = 1, *, to: str = "", out: str = "", times: int = -1
    ) -> None:
        """Let the next `times` calls that match `to` end so; the newest rule counts."""
        script = self.folder / "bin/gcloud"
        script.parent.mkdir(exist_ok=True)
        script.write_text(_GCLOUD.format(folder=self.folder))
        script.chmod(0o755)
        rules = self.folder / "rules"
        rules.mkdir(exist_ok=True)
        rule = rules / f"{len(list(rules.iterdir())):03}"
        rule.mkdir()
        for name, text in {
            "pattern": to,
            "times": str(times),
            "out": out,
            "errors": errors,
            "code": str(code),
        }.items():
            (rule / name).write_text(f"{text}\n" if text else "")
        (rule / "pattern").write_text(f"{to}\n")

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "MRCORE_PYTHON": sys.executable,
            "STORAGE_EMULATOR_HOST": os.environ.get("STORAGE_EMULATOR_HOST", NOBODY),
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER": f"{NOBODY}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{NOBODY}/",
        }

    def gce(
        self, *words: str, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `scripts/gce WORDS` to its end."""
        return subprocess.run(
            [ROOT / "scripts/gce", *words],
            cwd=self.folder,
            env={**self.environment(), **(extra or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@dataclass
class InProcessSite(RunnerSite):
    """A site whose commands run in this process, which is cheap."""

    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]

    def gce(
        self, *words: str, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `mrcore gce WORDS` to its end."""
        with self.monkeypatch.context() as patch:
            patch.chdir(self.folder)
            patch.delenv("XDG_STATE_HOME", raising=False)  # what it keeps is below HOME
            environment = {**self.environment(), "MRCORE_GCS_LOGIN": "gcloud", **(extra or {})}
            for name, value in environment.items():
                patch.setenv(name, value)
            self.capfd.readouterr()
            code = run_command_line(["gce", *words])
        printed = self.capfd.readouterr()
        return subprocess.CompletedProcess(words, code, printed.out, printed.err)
