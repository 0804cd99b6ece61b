"""Nothing outside the storage compares a scheme or imports a back end."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.storage import registry
from tests.tidy.tree import parsed, python_files, shown

pytestmark = pytest.mark.xdist_group("parsed")  # each process parses the files anew

FREE = ("mrcore/storage/", "mrcore/gce/", "tests/", "scripts/")
"""Besides storage and tests: the runner on Compute Engine makes buckets, so all it knows is `gs://`."""
SHARED = {"base", "injected", "operations", "places", "registry"}
"""Modules of the storage that are not a back end."""


def schemes_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield where a string is a scheme or its separator, and what it is."""
    names = {f"{scheme}://" for scheme in registry._BACK_ENDS} | {"://"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in names:
            yield node.lineno, node.value


def back_ends_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield where a module of the storage that is not shared is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            parts = module.split(".")
            if parts[:2] == ["mrcore", "storage"] and not SHARED.intersection(parts[2:3]):
                yield node.lineno, module


def sources() -> list[Path]:
    return [path for path in python_files() if not shown(path).startswith(FREE)]


def test_no_scheme_is_compared_and_no_back_end_imported() -> None:
    found = []
    for path in sources():
        tree = parsed(path)
        for line, what in [*schemes_in(tree), *back_ends_in(tree)]:
            found.append(f"{shown(path)}:{line} {what}")
    assert not found, "ask the store (mrcore.storage.places), so that a back end stays one module"


@pytest.mark.parametrize(
    "text",
    [
        'uri.startswith("gs://")',
        'uri.partition("://")[2]',
        'f"file://{path}"',
        "from mrcore.storage.local.store import LocalStorage",
        "import mrcore.storage.gcs.store",
        "from mrcore.storage import memory",
    ],
)
def test_the_rule_sees(text: str) -> None:
    tree = ast.parse(text)
    assert [*schemes_in(tree), *back_ends_in(tree)]


def test_the_rule_lets_the_shared_part_pass() -> None:
    tree = ast.parse(
        "from mrcore.storage.registry import storage_for\nx = 'use gs://BUCKET/FOLDER'"
    )
    assert not [*schemes_in(tree), *back_ends_in(tree)]
