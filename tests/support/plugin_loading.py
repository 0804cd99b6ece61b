"""Loading of plugins that a test writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.plugin.bundle import build_bundle
from mrcore.plugin.functions import UserFunctions
from mrcore.plugin.loader import load_bundle


@pytest.fixture(autouse=True)
def clean_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loading a bundle changes the process: put it back."""
    path, finders, modules = list(sys.path), list(sys.meta_path), set(sys.modules)
    hooks = list(sys.path_hooks)
    monkeypatch.chdir(tmp_path)
    yield
    sys.path[:], sys.meta_path[:], sys.path_hooks[:] = path, finders, hooks
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def load(tmp_path: Path, source: str, target: str = "wc.py") -> UserFunctions:
    """Write `source` as wc.py and load `target`."""
    (tmp_path / "wc.py").write_text(source)
    return load_bundle(build_bundle(target, [], tmp_path).data, tmp_path / "scratch")


MAP = "def map(key, value):\n    yield value, 1\n"
