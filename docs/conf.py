"""Settings of the documentation's site, which `scripts/docs` builds with Sphinx.

The pages are the Markdown files of the repository, so that they read well there too. Those under
`docs/reference` are made from docstrings and from the tables of the source.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import mrcore
from mrcore import errors
from mrcore.model.job_options import JOB_OPTIONS
from mrcore.plugin.functions import FUNCTIONS, shape

project = "mrcore"
author = "the authors of mrcore"
version = release = mrcore.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["*.md", "docs/**"]
exclude_patterns = [".*", "bench", "build", "out", "mrcore", "tests"]

NAVIGATION = {
    "Start": ["docs/README", "docs/tutorial", "docs/examples"],
    "Guides": [
        "docs/jobs",
        "docs/datasets",
        "docs/python",
        "docs/testing",
        "docs/cli",
        "docs/storage",
    ],
    "Machines": [
        "docs/gce",
        "docs/operations",
        "docs/masters",
        "docs/performance",
        "docs/chaos",
        "SECURITY",
        "docs/grpc",
    ],
    "API reference": [
        "docs/reference/run",
        "docs/reference/cluster",
        "docs/reference/dataset",
        "docs/reference/steps",
        "docs/reference/testing",
        "docs/reference/errors",
    ],
    "Inside": ["docs/glossary", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG"],
}
"""Pages of the side bar, by their heading there."""

highlight_language = "text"
html_theme = "furo"
html_title = "mrcore"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False

myst_heading_anchors = 4

# Docstrings have names and code between single backquotes. Known names become links.
default_role = "py:obj"
add_module_names = False
autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 100
python_use_unqualified_type_names = True

CONSTRUCTED = ("Client", "LocalCluster", "Input", "Step")
"""Ends of the names of classes that a program makes itself; only these have a signature here."""

ERRORS = {
    name: f"{mrcore.__name__ if name in dir(mrcore) else errors.__name__}.{name}"
    for name in (*vars(errors), "RunFailedError")
    if name.endswith("Error")
}
"""Places of the errors in the reference, by name."""
ERROR_NAMES = re.compile(rf"(?<![`.\w])({'|'.join(ERRORS)})s?(?![\w`])")


def add_navigation(_app: Sphinx, page: str, source: list[str]) -> None:
    """Append the side bar's pages to the front page, which shows nothing of them itself."""
    if page != root_doc:
        return
    for caption, pages in NAVIGATION.items():
        lines = ["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"]
        source[0] += "\n" + "\n".join(lines) + "\n"


def choose_signature(
    _app: Sphinx,
    what: str,
    name: str,
    _found: object,
    _options: object,
    shown: str | None,
    *_: object,
) -> tuple[str, None] | None:
    """Hide how classes are made that mrcore makes."""
    made_here = what in ("class", "exception") and not name.endswith(CONSTRUCTED)
    return ("", None) if made_here and shown else None


def mark_code(
    _app: Sphinx, _what: str, _name: str, _found: object, _options: object, lines: list[str]
) -> None:
    """Make code of indented blocks, as Markdown does."""
    for number in range(len(lines) - 1, 1, -1):
        begins = lines[number].startswith("    ") and not lines[number - 1]
        if begins and not lines[number - 2].startswith(" "):
            lines[number:number] = ["::", ""]


def link_errors(
    _app: Sphinx, _what: str, _name: str, _found: object, _options: object, lines: list[str]
) -> None:
    """Make links of the names of errors, which docstrings have without backquotes."""
    for number, line in enumerate(lines):
        lines[number] = ERROR_NAMES.sub(lambda hit: f":py:exc:`{hit[0]} <{ERRORS[hit[1]]}>`", line)


class JobOptionList(SphinxDirective):
    """The functions and options that a job may have, from the tables of the source."""

    def run(self) -> list[nodes.Node]:
        """Return a list of definitions."""
        lines = []
        for name, role in FUNCTIONS.items():
            lines += [f"`{shape(name)}`", f"    {role.help}", ""]
        for option in JOB_OPTIONS:
            lines += [f"`{option.name}`", f"    {option.help}", ""]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> None:
    """Register what this site adds to Sphinx."""
    app.add_directive("job-options", JobOptionList)
    app.connect("source-read", add_navigation)
    app.connect("autodoc-process-signature", choose_signature)
    app.connect("autodoc-process-docstring", mark_code)
    app.connect("autodoc-process-docstring", link_errors)
