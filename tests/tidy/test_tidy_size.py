"""Files and functions stay of a size that a person can read."""

from __future__ import annotations

import ast

import pytest

from tests.support.repository import ROOT
from tests.tidy.tree import nodes, project_files, python_files, shown

pytestmark = pytest.mark.xdist_group("parsed")  # each process parses the files anew

FILE_LINES = 400
FUNCTION_LINES = 70


def test_no_file_is_longer_than_its_limit() -> None:
    files = [*python_files(), *(ROOT / "proto").rglob("*.proto")]
    files += [path for path in project_files() if path.parent == ROOT / "scripts"]
    long = {}
    for path in files:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > FILE_LINES:
            long[shown(path)] = lines
    assert not long, f"split these by what they do: {long}"
    assert len(files) > 50, "the tree was not found"


def test_no_function_is_longer_than_its_limit() -> None:
    long = {}
    for path in python_files():
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{shown(path)}:{node.lineno} {node.name}"] = lines
    assert not long, f"give the steps of these names of their own: {long}"
