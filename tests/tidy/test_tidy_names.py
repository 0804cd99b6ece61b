"""Names of options in messages, each of which is a keyword in a program, and of log fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

import pytest

from mrcore.client.python_names import in_dataset, in_python
from mrcore.daemon.logs import FIELDS
from tests.tidy.tree import nodes, python_files, shown

pytestmark = pytest.mark.xdist_group("parsed")  # each process parses the files anew

COMMANDS: Final = (
    *("mrcore/cli/", "mrcore/gce/", "mrcore/cost/", "mrcore/daemon/", "mrcore/deploy/"),
    *(
        "mrcore/engine/replay",
        "deploy/",
        "master/main",
        "master/daemon",
        "master/options",
        "worker/",
        "master/fleet/",
    ),
)
"""Code whose messages only those read who have typed a command."""
OF_DAEMONS: Final = frozenset(("--tls", "--scratch"))
"""Options of a master or a worker, which is started by a command in any case."""
FLAG: Final = re.compile(r"(?<![\w/.-])--?[a-zA-Z][a-z-]*(?![\w-])")


def messages() -> Iterator[tuple[str, str]]:
    """Yield the sentences that a program may meet, with their places."""
    for path in python_files():
        name = shown(path)
        if not name.startswith(("mrcore/", "master/")) or name.startswith(COMMANDS):
            continue
        inner = {
            id(part)
            for node in nodes(path)
            if isinstance(node, ast.JoinedStr | ast.Expr)
            for part in ast.walk(node)
            if part is not node and isinstance(part, ast.Constant | ast.JoinedStr)
        }
        for node in nodes(path):
            if id(node) not in inner and isinstance(node, ast.Constant | ast.JoinedStr):
                text = _text(node)
                if " " in text and FLAG.search(text):
                    yield f"{name}:{node.lineno}", text


def _text(node: ast.Constant | ast.JoinedStr) -> str:
    parts: list[object]
    if isinstance(node, ast.Constant):
        parts = [node.value] if isinstance(node.value, str) else []
    else:
        parts = [part.value if isinstance(part, ast.Constant) else "x" for part in node.values]
    # A command that a message advises is typed as it is.
    return re.sub(r"`[^`]*`|mrcore [^.]*|iconv [^.]*", "", "".join(map(str, parts)))


def test_no_message_of_a_program_names_a_flag() -> None:
    found = list(messages())
    assert len(found) > 30
    for words in (in_python, in_dataset):
        left = {place: set(FLAG.findall(words(text))) - OF_DAEMONS for place, text in found}
        assert not {place: flags for place, flags in left.items() if flags}


def test_every_field_that_a_line_is_given_is_one_that_is_logged() -> None:
    given: dict[str, str] = {}
    for path in python_files():
        if shown(path).startswith("tests/"):
            continue
        for node in nodes(path):
            if isinstance(node, ast.keyword) and node.arg == "extra":
                keys = node.value.keys if isinstance(node.value, ast.Dict) else []
                names = [key.value for key in keys if isinstance(key, ast.Constant)]
                given |= {str(name): f"{shown(path)}:{node.value.lineno}" for name in names}
    assert {"job", "error", "token_id"} <= given.keys(), "this test looks at nothing"
    unknown = {name: place for name, place in given.items() if name not in FIELDS}
    assert not unknown, "no line shows these"
