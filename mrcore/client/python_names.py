"""Names of options in messages: a flag on the command line, a keyword in a program.

A message may come from a task or from the master, and whoever reads it may have typed a command or
written a program. So messages have the flags, and the functions of Python put keywords in their
place. The table of job options gives both names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from mrcore.errors import JobFailedError, MrcoreError
from mrcore.model.formats import INPUT_FORMATS, OUTPUT_FORMATS
from mrcore.model.job_options import JOB_OPTIONS
from mrcore.model.option_kinds import Choice, Flag, Named, Whole

_FLAG: Final = re.compile(
    r"(?<![\w/.-])(--?[a-zA-Z][a-z-]*)(?![\w-])"
    # Its value: a name in capitals, or what has a slash or a digit in it, or a single word.
    r"(?:[ =](?:(?P<name>[A-Z][A-Z:|]+(?!\w))|(?P<place>\w*[/:\d][^\s;]*[^\s;,.:])|(?P<word>\w+)))?"
)
_READERS: Final = {"whole": "read_files", "arrow": "read_batches"}


@dataclass(frozen=True, slots=True)
class _Name:
    """Name of an option in a program, and what tells a value that follows it from other words."""

    keyword: str
    values: frozenset[str] = frozenset()
    """Words that are values."""
    takes_any: bool = False
    """Whether any word is a value."""
    is_switch: bool = False
    """Whether it is on where a command has it."""


def _job_options() -> dict[str, _Name]:
    names: dict[str, _Name] = {}
    for option in JOB_OPTIONS:
        values: frozenset[str] = frozenset()
        if isinstance(option.kind, Named):
            values = frozenset(option.kind.table.names())
        elif isinstance(option.kind, Choice):
            values = frozenset(str(member.value) for member in option.kind.members)
        elif isinstance(option.kind, Whole):
            values = frozenset((option.kind.zero,))
        for flag in {option.long_flag, option.shown_flag}:
            names[flag] = _Name(option.name, values, is_switch=isinstance(option.kind, Flag))
    return names


NAMES: Final[Mapping[str, _Name]] = {
    **_job_options(),
    "-o": _Name("output", takes_any=True),
    **{
        "--" + name.replace("_", "-"): _Name(name)
        for name in (
            *("master", "state", "credentials", "engine", "workers", "slots"),
            "keep_results",
        )
    },
}
"""Options that a program can give too, by their flags."""

Say = Callable[[_Name, str], str]


def _keyword(name: _Name, value: str) -> str:
    """Return an option with its value, if it has one, as a program has it."""
    if name.is_switch:
        return f"{name.keyword}=True"
    return f"{name.keyword}={value}" if value else name.keyword


def _of_dataset(name: _Name, value: str) -> str:
    """Return it as a dataset has it: formats are functions there."""
    word = value.strip('"')
    if name.keyword == "output":
        return _keyword(_Name("path"), value)
    if name.keyword == "output_format":
        return f"write_{word}" if word in OUTPUT_FORMATS else "write_… function"
    if name.keyword == "input_format":
        known = word in INPUT_FORMATS
        return _READERS.get(word, f"read_{word}") if known else "read_… function"
    return _keyword(name, value)


def in_python(text: str, say: Say = _keyword) -> str:
    """Return a message with keywords in place of flags."""

    def replaced(match: re.Match[str]) -> str:
        name = NAMES.get(match[1])
        if name is None:
            return match[0]
        value, rest = "", ""
        if name.is_switch:
            rest = match[0][len(match[1]) :]
        elif match["name"]:
            value = match["name"]
        elif match["place"]:
            is_number = match["place"].replace(",", "").isdigit()
            value = match["place"] if is_number else f'"{match["place"]}"'
        elif match["word"] and (name.takes_any or match["word"] in name.values):
            value = f'"{match["word"]}"'
        elif match["word"]:
            rest = match[0][len(match[1]) :]
        return say(name, value) + rest

    return _FLAG.sub(replaced, text)


def in_dataset(text: str) -> str:
    """Return a message with the functions and keywords of datasets in place of flags."""
    return in_python(text, _of_dataset)


@contextmanager
def python_errors(words: Callable[[str], str] = in_python) -> Iterator[None]:
    """Put errors that leave the block into the words of a program. It is a decorator, too."""
    try:
        yield
    except JobFailedError:
        raise  # in such words already, with a traceback of the user's
    except MrcoreError as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (words(error.args[0]), *error.args[1:])
        raise
