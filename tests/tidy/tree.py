"""The files of the project, for the tests that read them as text."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.repository import ROOT

GENERATED = ROOT / "mrcore/rpc/v1"

_FOLDERS = (
    *(".ci", "bench", "deploy", "docs", "examples", "master", "mrcore", "proto", "scripts"),
    *("tests", "worker"),
)


def project_files() -> Iterator[Path]:
    """Yield every file that belongs to the project, in the order of its path."""
    for path in sorted(ROOT.iterdir()):
        if path.is_file() and (path.suffix in {".md", ".toml", ".txt"} or path.name == "LICENSE"):
            yield path
    for folder in _FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def python_files() -> Iterator[Path]:
    """Yield the Python files that people write."""
    for path in project_files():
        if path.suffix == ".py" and GENERATED not in path.parents:
            yield path


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file, which is parsed once for all tests that read it."""
    gc.disable()  # else it would look at all trees again and again
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        gc.freeze()
        gc.enable()


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of that tree."""
    found = tuple(ast.walk(parsed(path)))
    gc.freeze()
    return found


def shown(path: Path) -> str:
    """Return the path as one would name it, from the root."""
    return path.relative_to(ROOT).as_posix()
