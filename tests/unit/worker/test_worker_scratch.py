"""Folders that go with their worker, or with the next one."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from mrcore.errors import UsageError
from mrcore.worker.shell.scratch import scratch_base, scratch_folder


def test_it_is_there_and_then_gone(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "base") as scratch:
        folder = scratch.path
        (folder / "sub").mkdir()
        (folder / "sub/file").write_text("x")
        assert folder.parent == tmp_path / "base"
    assert list((tmp_path / "base").iterdir()) == []


def test_it_goes_when_the_worker_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), scratch_folder(tmp_path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_only_folders_of_dead_workers_are_swept(tmp_path: Path) -> None:
    dead = tmp_path / "worker-1-dead"
    dead.mkdir()
    (dead / "run").write_text("x")
    (tmp_path / "mine").mkdir()
    with scratch_folder(tmp_path) as first:
        assert not dead.exists()
        with scratch_folder(tmp_path) as second:
            assert first.path.is_dir()
            assert second.path.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_was_removed_is_made_anew_and_locked(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as first:
        shutil.rmtree(first.path)
        first.restore()
        (first.path / "file").touch()
        first.restore()
        with scratch_folder(tmp_path):
            assert (first.path / "file").exists(), "it is not swept: its worker lives"
    assert list(tmp_path.iterdir()) == []


def test_a_relative_folder_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with scratch_folder(Path("base")) as scratch:
        assert scratch.path.parent == tmp_path / "base"


def test_the_usual_folder_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    base = scratch_base(None)
    assert stat.S_IMODE(base.stat().st_mode) == 0o700
    assert scratch_base(None) == base
    # Somebody may have made it first: as a folder that all may change, or as a link to one.
    base.chmod(0o777)
    with pytest.raises(UsageError, match="is not yours alone"):
        scratch_base(None)
    base.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    base.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is not yours alone"):
        scratch_base(None)
    base.unlink()
    base.mkdir(mode=0o700)
    monkeypatch.setattr("os.getuid", lambda: os.geteuid() + 1)
    (tmp_path / f"mrcore-{os.geteuid() + 1}").mkdir(mode=0o700)
    with pytest.raises(UsageError, match="is not yours alone"):
        scratch_base(None)
