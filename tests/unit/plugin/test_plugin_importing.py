"""Whose modules are found by whom: the plugin's own, installed ones, and what lies about."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from mrcore.plugin.bundle import build_bundle
from mrcore.plugin.functions import UserFunctions
from mrcore.plugin.loader import load_bundle
from tests.support.plugin_loading import MAP, clean_imports, load

__all__ = ["clean_imports"]

FOREIGN = "raise ImportError('a file of the user was taken for a module of the library')\n"


def load_with_files(tmp_path: Path, source: str, *files: str) -> UserFunctions:
    """Write `source` as wc.py and load it with side files."""
    (tmp_path / "wc.py").write_text(source)
    bundle = build_bundle("wc.py", files, tmp_path)
    return load_bundle(bundle.data, tmp_path / "scratch")


def test_the_current_folder_and_side_files_do_not_shadow_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("colorsys", "stringprep"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(FOREIGN)
    load_with_files(tmp_path, MAP, "stringprep.py")
    assert "a file of the user" not in str(importlib.import_module("colorsys").__file__)
    assert importlib.import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)
    assert hasattr(importlib.import_module("stringprep"), "in_table_a1")


def test_side_files_and_the_current_folder_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "aside").mkdir()
    (tmp_path / "aside/side.py").write_text("WHO = 'side file'\n")
    (tmp_path / "lying.py").write_text("WHO = 'current folder'\n")
    load_with_files(tmp_path, MAP, "aside/side.py")
    assert importlib.import_module("side").WHO == "side file"
    assert importlib.import_module("lying").WHO == "current folder"


def test_a_library_finds_its_own_modules_and_the_plugin_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "library.py").write_text("import codec\nWHO = codec.WHO\n")
    (installed / "codec.py").write_text("WHO = 'the library'\n")
    (installed / "names.py").write_text("WHO = 'the library'\n")
    (tmp_path / "codec.py").write_text("WHO = 'the plugin'\n")
    (tmp_path / "names.py").write_text("WHO = 'the plugin'\n")
    monkeypatch.syspath_prepend(str(installed))
    source = """
import library, names
def map(key, value):
    import codec
    yield library.WHO, names.WHO
"""
    functions = load(tmp_path, source)
    assert list(functions.steps[0]["map"](1, 2)) == [("the library", "the plugin")]


def test_a_plugin_is_loaded_where_the_current_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = build_bundle(str(_written(tmp_path)), [], tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        functions = load_bundle(bundle.data, tmp_path / "scratch")
    finally:
        os.chdir(tmp_path)
    assert list(functions.steps[0]["map"](0, "a")) == [("a", 1)]


def _written(folder: Path) -> Path:
    path = folder / "wc.py"
    path.write_text(MAP)
    return path


def test_modules_beside_the_real_file_of_a_link_travel(tmp_path: Path) -> None:
    home, shop = tmp_path / "home", tmp_path / "shop"
    home.mkdir()
    shop.mkdir()
    (home / "wc.py").write_text("import helper\ndef map(key, value):\n    yield helper.WHO, 1\n")
    (home / "helper.py").write_text("WHO = 'beside the real file'\n")
    (shop / "wc.py").symlink_to(home / "wc.py")
    bundle = build_bundle("wc.py", [], shop)
    functions = load_bundle(bundle.data, tmp_path / "scratch")
    assert list(functions.steps[0]["map"](1, 2)) == [("beside the real file", 1)]
