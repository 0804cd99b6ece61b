"""Input groups: which map function and format a file of the input has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from mrcore.errors import InputError
from mrcore.model.job import InputGroup
from mrcore.records.codecs import without_extension
from mrcore.records.patterns import pattern_of

_ANY_NAME: Final = re.compile(r".*", re.DOTALL)
"""Expression of the group of all other files, whose pattern is empty."""


class Grouping:
    """The groups of a plugin; without any, all files are in group 0."""

    def __init__(self, groups: Sequence[InputGroup], job_format: str) -> None:
        """`job_format` is the format of groups that have none of their own."""
        self._groups = groups
        self._job_format = job_format
        self._patterns = [
            pattern_of(group.pattern) if group.pattern else _ANY_NAME for group in groups
        ]

    def format_of(self, group: int) -> str:
        """Return the name of the input format of a group."""
        own = self._groups[group].input_format if self._groups else ""
        return own or self._job_format

    def group_of(self, uri: str, shown: str) -> int:
        """Return the number of the first group that takes a file; raise InputError for none.

        A pattern has to match the end of the file's name, in whole components. The extension of
        its compression need not be in the pattern.
        """
        if not self._groups:
            return 0
        ends = list(_ends(uri))
        for number, pattern in enumerate(self._patterns):
            if any(map(pattern.fullmatch, ends)):
                return number
        patterns = ", ".join(group.pattern for group in self._groups)
        raise InputError(
            f"The input {shown} matches none of the patterns in `inputs` of the plugin "
            f"({patterns}). Add one for it, or leave the file out."
        )


def _ends(uri: str) -> Iterator[str]:
    """Yield the ends of a name that begin with a component, shortest first."""
    for name in dict.fromkeys((uri, without_extension(uri))):
        slash = len(name)
        while (slash := name.rfind("/", 0, slash)) >= 0:
            yield name[slash + 1 :]
