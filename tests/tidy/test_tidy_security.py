"""The claims of SECURITY.md: each names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def claims() -> list[str]:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    table = text.partition("| claim | tests |\n|---|---|\n")[2].partition("\n\n")[0]
    return table.splitlines()


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_every_claim_names_tests_and_they_exist() -> None:
    rows = claims()
    assert len(rows) > 20
    for row in rows:
        named = NAMED.findall(row)
        assert named, row
        # Nothing that looks like a test escapes the pattern.
        assert row.count("::") == len(named), row
        for file, name in named:
            assert name.startswith("test_"), name
            assert (ROOT / file).is_file(), file
            assert name in functions_in(ROOT / file), f"{file} has no {name}"
