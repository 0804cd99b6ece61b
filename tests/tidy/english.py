"""Rules for plain English that a program can check; CONTRIBUTING has all of them."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.tidy.tree import nodes, parsed

QUESTION_WORDS: Final = frozenset({"What", "How", "Who", "Where", "When", "Why", "Which"})
"""First words of a clause in place of the noun that it stands for."""
MODULE_WORDS: Final = QUESTION_WORDS | {"Whether"}
"""First words of a story; a module's first line names the module."""
FIELD_WORDS: Final = QUESTION_WORDS | {"Of", "That", "By", "For", "So", "Those"}
"""First words of a fragment that lacks its noun; a flag may begin with "Whether"."""
FUNCTION_WORDS: Final = QUESTION_WORDS | {"Tell", "Tells", "Say", "Says", "Give", "Gives", "Heed"}
"""First words that hide a plainer verb: return, report, send, allow."""
THIRD_PERSON: Final = re.compile(
    r"(Returns|Raises|Yields|Makes|Takes|Adds|Sets|Gets|Sends|Reads|Writes|Checks|Starts|Stops)\b"
)

SO_MANY: Final = re.compile(r"\bso (long|many|often|much)\b(?! (as|that|for|more))")
IS_NO: Final = re.compile(
    r"(?<![Tt]here )\b(is|are|was|were|names?) no "
    r"(?!(?:longer|more|less|fewer|later|older|such|larger|one|other|space|room|work|master|place"
    r"|need|way|matter)\b)\w+"
)
BANNED: Final = re.compile(
    r"\b(tells? (of|a person|apart|whether|how|what)|told\b|heeds?\b|bears?\b|lest\b|minds?\b)",
    re.IGNORECASE,
)
_COMMENT: Final = re.compile(r"(?:^|\s)# (?!noqa|type:)(.*)$")
WORDS_MAX: Final = 25
"""Words of the longest sentence in a help text or a document."""


def faults(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the rule of each fault in a module's docstrings and comments."""
    text = path.read_text(encoding="utf-8")
    yield from _docstrings(path)
    lines = text.splitlines()
    for number, line in _prose(path, lines):
        if SO_MANY.search(line):
            yield number, "a number without a unit"
        if IS_NO.search(line):
            yield number, "is no"
        if BANNED.search(line):
            yield number, "a verb that hides a plainer one"


def long_sentences(text: str) -> list[str]:
    """Return the sentences of a help text that have too many words."""
    prose = re.sub(r"\[[^\]]*\]|\([^)]*\)", "", text)
    sentences = re.split(r"(?<=[.!?])\s+|\n\n", prose)
    return [one for one in sentences if len(one.split()) > WORDS_MAX]


def long_sentences_of_document(text: str) -> list[str]:
    """Return the sentences of a document that have too many words.

    Code, tables and headings are left out; an inline piece of code counts as one word.
    """
    text = re.sub(r"^```.*?^```[^\n]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = []
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if not re.match(r"    |\t|\||#", line)]
        for item in re.split(r"\n(?=(?:[-*]|\d+\.) )", "\n".join(lines)):
            prose = re.sub(r"`[^`]*`", "x", " ".join(item.split()))
            prose = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", prose)
            prose = re.sub(r"^(?:[-*]|\d+\.) |\([^()]*\)", "", prose)
            found += re.split(r"(?<=[.!?:])(?:\*\*|\*)?\s+(?=[A-Z*x])", prose)
    return [sentence for sentence in found if len(sentence.split()) > WORDS_MAX]


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    found = ast.get_docstring(parsed(path), clean=True)
    if found and _first_word(found) in MODULE_WORDS:
        yield 1, "a module is a noun phrase"
    for node in nodes(path):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node, clean=True)
            if text and (_first_word(text) in FUNCTION_WORDS or THIRD_PERSON.match(text)):
                yield node.lineno, "a function is an imperative"
        if isinstance(node, ast.ClassDef):
            text = ast.get_docstring(node, clean=True)
            if text and _first_word(text) in QUESTION_WORDS:
                yield node.lineno, "a class is a noun phrase"
        body = getattr(node, "body", None)
        for before, after in itertools.pairwise(body) if isinstance(body, list) else ():
            if isinstance(before, (ast.Assign, ast.AnnAssign)) and _is_text(after):
                assert isinstance(after, ast.Expr)
                assert isinstance(after.value, ast.Constant)
                if _first_word(str(after.value.value)) in FIELD_WORDS:
                    yield after.lineno, "a field is a noun phrase"


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _first_word(text: str) -> str:
    found = re.match(r"\W*(\w+)", text)
    return found[1] if found else ""


def _prose(path: Path, lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines of texts and comments; code is left out."""
    for node in nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for number, line in enumerate(node.value.splitlines()):
                yield node.lineno + number, line
    for number, line in enumerate(lines, 1):
        if found := _COMMENT.search(line):
            yield number, found[1]
