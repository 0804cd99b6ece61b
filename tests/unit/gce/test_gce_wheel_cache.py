"""The cache of wheels: each is made once, and a cache that fails is done without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrcore.gce import wheel_cache

NAME = "a-1-py3-none-any.whl"


class Site:
    """A cache, and wheels that are made by need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0

    def make(self, into: Path) -> None:
        self.made += 1
        (into / NAME).write_text("content")

    def provide(self, *parts: str) -> list[str]:
        """Return what a new folder then has."""
        into = self.folder / f"into-{len(list(self.folder.iterdir()))}"
        into.mkdir()
        assert [path.name for path in wheel_cache.provide(parts, into, self.make)] == [NAME]
        return [path.read_text() for path in into.iterdir()]

    def kept(self) -> list[Path]:
        return sorted(wheel_cache.cache_folder().iterdir())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "site").mkdir()
    return Site(tmp_path / "site")


def test_wheels_are_made_once_for_all_that_they_depend_on(site: Site) -> None:
    assert site.provide("3.11", "a") == site.provide("3.11", "a") == ["content"]
    assert site.made == 1
    site.provide("3.12", "a")
    site.provide("3.11a")
    assert site.made == 3
    assert len(site.kept()) == 3


@pytest.mark.parametrize("harm", ["truncate", "remove"])
def test_a_damaged_entry_is_made_again(site: Site, harm: str) -> None:
    site.provide("a")
    (entry,) = site.kept()
    if harm == "truncate":
        (entry / NAME).write_text("cont")
    else:
        (entry / NAME).unlink()
    assert site.provide("a") == ["content"]
    assert site.kept() == [entry]
    site.provide("a")
    assert site.made == 2


def test_what_cannot_be_made_leaves_nothing(site: Site, tmp_path: Path) -> None:
    def fail(into: Path) -> None:
        site.make(into)
        raise ValueError("no index")

    with pytest.raises(ValueError, match="no index"):
        wheel_cache.provide(["a"], tmp_path, fail)
    assert site.kept() == []
    site.provide("a")
    assert site.made == 2


def test_a_home_without_room_for_a_cache_costs_time_only(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert site.provide("a") == site.provide("a") == ["content"]
    assert site.made == 2


def test_entries_that_nobody_uses_go(site: Site) -> None:
    site.provide("old")
    (old,) = site.kept()
    left = wheel_cache.cache_folder() / "new-left"
    left.mkdir()
    for path in (old, left):
        os.utime(path, (0, 0))
    site.provide("new")
    (kept,) = site.kept()
    assert kept not in (old, left)
