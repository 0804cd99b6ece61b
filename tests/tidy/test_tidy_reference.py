"""The API reference has every public name, and the site and the index have every page."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

import mrcore
from mrcore import errors
from tests.support.repository import ROOT

DOCS = ROOT / "docs"


def navigation() -> list[str]:
    """Return the pages that the side bar lists, without importing Sphinx."""
    for node in ast.parse((DOCS / "conf.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NAVIGATION":
            return list(chain.from_iterable(ast.literal_eval(node.value).values()))
    raise AssertionError("docs/conf.py has no NAVIGATION")


def test_each_public_name_stands_in_the_reference_once() -> None:
    named = [
        name
        for page in (DOCS / "reference").glob("*.rst")
        for name in re.findall(r"^\.\. auto\w+:: mrcore\.(\w+)$", page.read_text(), re.MULTILINE)
    ]
    assert sorted(set(named) - {"errors"}) == sorted(mrcore._PUBLIC)
    assert len(named) == len(set(named))


def test_the_side_bar_lists_every_page_once() -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *DOCS.rglob("*.rst")]
    names = {page.relative_to(ROOT).with_suffix("").as_posix() for page in pages}
    assert len(names) > 15
    assert sorted(navigation()) == sorted(names - {"README"})


def test_the_index_links_to_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    pages = [
        page.relative_to(DOCS).as_posix() for page in (*DOCS.rglob("*.md"), *DOCS.rglob("*.rst"))
    ]
    assert [page for page in pages if f"({page})" not in index and page != "README.md"] == []


@pytest.mark.slow
def test_the_site_has_no_broken_link_and_no_missing_name(tmp_path: Path) -> None:
    """Read all pages and resolve their links, as `scripts/docs` does, but write no HTML."""
    line = ["-b", "pseudoxml", "-c", "docs", "-W", "--keep-going", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *line, "-d", tmp_path / "read", ".", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for page in ("run", "cluster", "dataset", "testing"):
        text = (tmp_path / f"site/docs/reference/{page}.pseudoxml").read_text()
        named = set(re.findall(r"\b[A-Z]\w+Error\b", re.sub(r"<.*?>", "", text)))
        linked = re.findall(r'reftitle="mrcore\.[\w.]*?(\w+Error)"', text)
        assert named & {*vars(errors), "RunFailedError"} <= set(linked), (
            f"link the names of errors on the page {page}"
        )
