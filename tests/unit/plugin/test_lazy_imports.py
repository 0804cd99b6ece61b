"""Imports within functions: which modules of this machine they name."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrcore.errors import PluginError
from mrcore.plugin.bundle import build_bundle_of_modules
from mrcore.plugin.lazy_imports import is_local, local_imports

SOURCES = {
    "near.py": "import further\nNAME = 'near'\n",
    "further.py": "",
    "pack/__init__.py": "",
    "pack/inner.py": "def lazy():\n    from . import other\n    from .deep import thing\n",
    "pack/other.py": "",
    "pack/deep.py": "thing = 1\n",
    "space/part.py": "",
    "site-packages/installed.py": "",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, source in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def imports_of(function: Callable[..., Any]) -> set[str]:
    assert isinstance(function, types.FunctionType)
    return local_imports([function])


@pytest.mark.usefixtures("home")
def test_modules_that_are_imported_within_a_function_are_found() -> None:
    def plain() -> None:
        import json

        import near  # type: ignore[import-not-found]
        import numpy

        json.dumps([near, numpy])

    def within() -> object:
        def inner() -> object:
            import space.part  # type: ignore[import-not-found]

            return space.part

        return [inner for _ in range(3)]

    def absent() -> None:
        import installed  # type: ignore[import-not-found]
        import nowhere  # type: ignore[import-not-found]

        installed(nowhere)

    assert imports_of(plain) == {"near"}
    assert imports_of(within) == {"space.part"}
    assert imports_of(absent) == set()


@pytest.mark.usefixtures("home")
def test_relative_imports_are_those_of_the_functions_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inner = importlib.import_module("pack.inner")
    for name in ("pack", "pack.inner"):
        monkeypatch.delitem(sys.modules, name)
    assert imports_of(inner.lazy) == {"pack", "pack.other", "pack.deep", "pack.deep.thing"}


@pytest.mark.usefixtures("home")
def test_what_is_installed_or_of_the_library_is_not_local() -> None:
    assert [is_local(name) for name in ("near", "pack.inner", "space")] == [True] * 3
    assert [is_local(name) for name in ("installed", "json", "mrcore.errors", "")] == [False] * 4


def test_a_bundle_has_the_modules_and_what_they_import(home: Path) -> None:
    import io
    import zipfile

    bundle = build_bundle_of_modules(["near", "space.part", "space.part.name"], [home], home)
    names = zipfile.ZipFile(io.BytesIO(bundle.data)).namelist()
    assert names == ["code/further.py", "code/near.py", "code/space/part.py", "manifest.json"]
    with pytest.raises(PluginError, match="The module nowhere is not a source of this machine"):
        build_bundle_of_modules(["nowhere"], [home], home)
