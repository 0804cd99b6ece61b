"""The image of the VMs in its cache, with an mmdebstrap that takes no time."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.cloud.machines import image, requirements

FAKE = """#!/bin/sh
for target; do case $target in /*) break;; esac; done
echo made >> "$CALLS"
mkdir -p "$target/etc/systemd/system" "$target/var/lib/dbus"
[ ! -e "$CALLS.broken" ] || { echo no network; exit 1; }
sleep 0.1
echo whole > "$target/etc/whole"
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an mmdebstrap in the way; return the file that gets a line for each call of it."""
    if (reason := requirements.why_not()) is not None:
        pytest.skip(reason)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "mmdebstrap").write_text(FAKE)
    (tools / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def roots(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def test_it_is_made_once_by_many_at_the_same_time(cache: Path, calls: Path) -> None:
    found: list[bool] = []

    def use() -> None:
        with image.root(cache) as root:
            found.append((root / "etc/whole").exists())

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert found == [True] * 4
    assert calls.read_text() == "made\n"


def test_a_failure_says_where_to_look_and_leaves_no_root(cache: Path, calls: Path) -> None:
    Path(f"{calls}.broken").touch()
    with pytest.raises(image.ImageError) as caught, image.root(cache):
        pass
    log = next(cache.glob("*.log"))
    assert str(caught.value) == (
        f"mmdebstrap could not make the image of the VMs: its log is {log}."
    )
    assert log.read_text() == "no network\n"
    # What it has left is not built upon.
    (next(cache.glob("*.building")) / "stale").touch()
    Path(f"{calls}.broken").unlink()
    with image.root(cache) as root:
        assert (root / "etc/whole").exists()
        assert not (root / "stale").exists()


def test_a_new_recipe_makes_a_new_root_and_the_old_one_goes_when_unused(
    cache: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with image.root(cache) as old:
        monkeypatch.setattr(image, "RECIPE", "another")
        with image.root(cache) as new:
            assert new != old
            assert (old / "etc/whole").exists()
    with image.root(cache):
        assert roots(cache) == [new.name]
    assert not old.exists()


def test_an_error_while_it_is_used_is_not_swallowed(cache: Path, calls: Path) -> None:
    with pytest.raises(FileNotFoundError), image.root(cache):
        raise FileNotFoundError


def test_the_files_of_the_guest_are_roots_and_readable(tmp_path: Path) -> None:
    target = tmp_path / "guest"
    image.lay_over(target)
    runner = target / "usr/bin/google_metadata_script_runner"
    assert runner.stat().st_mode & 0o777 == 0o755
    wanted = target / "etc/systemd/system/multi-user.target.wants/google-startup-scripts.service"
    assert wanted.is_symlink()
    assert wanted.resolve().stat().st_mode & 0o777 == 0o644
    assert {path.stat().st_uid for path in target.rglob("*")} == {os.geteuid()}
