"""Temporary folders: one is there for its process, and not for long after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mrcore.util import temporary
from mrcore.util.temporary import temporary_folder

_HOLD = """
import signal, sys
from mrcore.util.temporary import temporary_folder
with temporary_folder("killed") as folder:
    (folder / "content").mkdir()
    print(folder, flush=True)
    signal.pause()
"""


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a folder for temporary ones that is this test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_is_private_and_goes_with_its_block(base: Path) -> None:
    with temporary_folder("test") as folder:
        assert (folder.parent, folder.stat().st_mode & 0o777) == (base, 0o700)
        (folder / "content").write_text("x")
        with pytest.raises(ZeroDivisionError), temporary_folder("test"):
            raise ZeroDivisionError
        assert list(base.iterdir()) == [folder], "one that is held stays"
    assert not list(base.iterdir())


def test_a_folder_of_a_killed_process_is_removed_by_the_next(base: Path) -> None:
    foreign = base / "mrcore-temp-link"
    (base / "target").mkdir()
    foreign.symlink_to(base / "target")
    with subprocess.Popen([sys.executable, "-c", _HOLD], stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        left = Path(held.stdout.readline().rstrip())
        with temporary_folder("test"):
            assert left.is_dir(), "its process lives"
        os.kill(held.pid, signal.SIGKILL)
    assert left.is_dir()
    with temporary_folder("test") as folder:
        assert sorted(base.iterdir()) == sorted((folder, base / "target", foreign))


def test_a_file_system_without_locks_will_do(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "lock_folder", lambda path: None)
    with temporary_folder("test") as folder, temporary_folder("test") as other:
        assert folder.is_dir()
        assert other.is_dir()
    assert not list(base.iterdir())


def test_a_folder_that_cannot_get_its_name_is_removed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> Path:
        raise PermissionError(1, "not permitted", str(target))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError), temporary_folder("test"):
        pass
    assert not list(base.iterdir())
