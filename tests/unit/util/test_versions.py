"""Versions of installed packages: those of their metadata."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from mrcore.util.versions import installed_version


@pytest.mark.parametrize("package", ["pyarrow", "cloudpickle", "numpy"])
def test_the_version_is_that_of_the_metadata(package: str) -> None:
    assert installed_version(package) == metadata.version(package)


@pytest.mark.parametrize("names", [["1.0"], ["1.0", "2.0"], []])
def test_the_metadata_decide_where_the_folders_do_not(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_package").mkdir()
    (tmp_path / "toy_package/__init__.py").touch()
    for name in names:
        (tmp_path / f"toy_package-{name}.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(metadata, "version", lambda package: f"metadata of {package}")
    expected = "1.0" if names == ["1.0"] else "metadata of toy_package"
    assert installed_version("toy_package") == expected


def test_a_package_that_is_missing_is_an_error() -> None:
    assert "toy_package" not in sys.modules
    with pytest.raises(metadata.PackageNotFoundError):
        installed_version("toy_package")
