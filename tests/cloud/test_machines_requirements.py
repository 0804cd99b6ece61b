"""Hosts that cannot hold the test cloud: the proof reports why, in one sentence, last."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cloud.machines import image, requirements
from tests.cloud.machines.cloud import REPOSITORY

PROGRAMS = ("systemd-nspawn", "mmdebstrap", "ip", "unshare", "nsenter", "gcloud")
AS_ROOT = """
import os, runpy
os.geteuid = lambda: 0
runpy.run_module("tests.cloud.proof", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("systemd-nspawn", "is not installed: run `apt-get install systemd-container`."),
        ("mmdebstrap", "is not installed: run `apt-get install mmdebstrap`."),
        ("gcloud", "is not installed: see https://cloud.google.com/sdk/docs/install."),
    ],
)
def test_the_proof_names_what_is_missing(missing: str, sentence: str, tmp_path: Path) -> None:
    for program in PROGRAMS:
        if program != missing:
            (tmp_path / program).symlink_to("/bin/true")
    # Whoever runs this may not be root; that is reported first, and is another test.
    done = subprocess.run(
        [sys.executable, "-c", AS_ROOT],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (77, "")
    assert done.stderr.splitlines() == [f"cloudtest: {missing} {sentence}"]


def test_without_root_there_are_no_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert requirements.why_not() == (
        "Making VMs out of containers needs root: run this as root, on a Linux machine."
    )


def test_a_kernel_without_overlays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(Path, "read_text", lambda _: "nodev\ttmpfs\n\text4\n")
    assert requirements.why_not() == (
        "This kernel has no overlay file system: run `modprobe overlay`."
    )


def test_a_mirror_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(image, "MIRROR", "http://127.0.0.1:1/debian")
    reason = image.why_not(tmp_path)
    assert reason is not None
    assert reason.startswith("http://127.0.0.1:1/debian cannot be reached (")


def test_an_image_in_the_cache_needs_no_mirror(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(image, "MIRROR", "http://127.0.0.1:1/debian")
    (tmp_path / image._name()).mkdir()
    assert image.why_not(tmp_path) is None
