"""Modules that are loaded and hidden: who imports their names gets what the path has."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.util.hidden_modules import hide


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Load a package with a module, and a namespace with another, and hide both."""
    for folder in ("shy_package", "shy_space/inner"):
        (tmp_path / "site" / folder).mkdir(parents=True)
        (tmp_path / "site" / folder / "__init__.py").write_text("state = []\n")
        (tmp_path / "site" / folder / "module.py").write_text("state = []\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield "shy_package"
    for name in list(sys.modules):
        if name.startswith("shy_"):
            del sys.modules[name]


def test_the_same_files_are_not_loaded_again(package: str) -> None:
    names = [package, f"{package}.module", "shy_space.inner", "shy_space.inner.module"]
    loaded = [importlib.import_module(name) for name in names]
    hide(["shy_package", "shy_space"])
    assert not any(name.startswith("shy_") for name in sys.modules)
    assert [importlib.import_module(name) for name in reversed(names)] == loaded[::-1]
    assert sys.modules["shy_space"].inner is loaded[2]


def test_another_module_of_that_name_is_found(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = importlib.import_module(f"{package}.module")
    hide([package])
    (tmp_path / "user").mkdir()
    (tmp_path / f"user/{package}.py").write_text("state = 'the user''s'\n")
    monkeypatch.syspath_prepend(tmp_path / "user")
    found = importlib.import_module(package)
    assert found.state == "the users"
    with pytest.raises(ModuleNotFoundError, match="is not a package"):
        importlib.import_module(f"{package}.module")
    assert loaded.state == []


def test_what_is_gone_from_the_path_is_not_found(package: str, tmp_path: Path) -> None:
    importlib.import_module(package)
    hide([package])
    sys.path.remove(str(tmp_path / "site"))
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(package)
